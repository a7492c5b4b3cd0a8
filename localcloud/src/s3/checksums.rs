//! The checksums that S3 verifies, computes and stores.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::{ChecksumAlgorithm, ChecksumType};
use serde::{Deserialize, Serialize};

/// Takes the checksums out of the five checksum fields of a request.
macro_rules! declared_checksums {
    ($input:expr) => {{
        use crate::s3::checksums::Algorithm;
        [
            (Algorithm::Crc32, $input.checksum_crc32.take()),
            (Algorithm::Crc32c, $input.checksum_crc32c.take()),
            (Algorithm::Crc64nvme, $input.checksum_crc64nvme.take()),
            (Algorithm::Sha1, $input.checksum_sha1.take()),
            (Algorithm::Sha256, $input.checksum_sha256.take()),
        ]
        .into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value?)))
        .collect::<Vec<_>>()
    }};
}

/// Sets that of a response's five checksum fields which belongs to a checksum's algorithm.
macro_rules! set_checksum {
    ($output:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            let checksum: &crate::s3::checksums::Checksum = checksum;
            let value = Some(checksum.value.clone());
            use crate::s3::checksums::Algorithm;
            match checksum.algorithm {
                Algorithm::Crc32 => $output.checksum_crc32 = value,
                Algorithm::Crc32c => $output.checksum_crc32c = value,
                Algorithm::Crc64nvme => $output.checksum_crc64nvme = value,
                Algorithm::Sha1 => $output.checksum_sha1 = value,
                Algorithm::Sha256 => $output.checksum_sha256 = value,
            }
        }
    };
}

pub(super) use {declared_checksums, set_checksum};

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64nvme,
    Sha1,
    Sha256,
}

/// The checksum of an object or of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    pub algorithm: Algorithm,
    /// Base64; a composite checksum ends with a dash and the number of parts.
    pub value: String,
    /// Computed from the parts' checksums rather than from the bytes.
    pub composite: bool,
}

/// A checksum that is being computed.
#[allow(missing_debug_implementations)]
pub struct Hasher {
    algorithm: Algorithm,
    hasher: ChecksumHasher,
}

/// The MD5 and, if wanted, the checksum of bytes, computed in one pass.
#[allow(missing_debug_implementations)]
pub struct Digests {
    md5: Md5,
    checksum: Option<Hasher>,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// Returns S3's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Returns the header or trailer that carries its checksum.
    pub fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    /// Returns the algorithm that a request names; `None` for an unknown name.
    pub fn of(name: &ChecksumAlgorithm) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name.as_str()))
    }

    pub fn to_dto(self) -> ChecksumAlgorithm {
        ChecksumAlgorithm::from_static(self.name())
    }

    /// Returns whether a base64 text decodes to as many bytes as the algorithm produces.
    pub fn accepts(self, value: &str) -> bool {
        let length = match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        };
        STANDARD.decode(value).is_ok_and(|raw| raw.len() == length)
    }

    pub fn hasher(self) -> Hasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(Crc32::new()),
            Self::Crc32c => hasher.crc32c = Some(Crc32c::new()),
            Self::Crc64nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
            Self::Sha1 => hasher.sha1 = Some(Sha1::new()),
            Self::Sha256 => hasher.sha256 = Some(Sha256::new()),
        }
        Hasher {
            algorithm: self,
            hasher,
        }
    }

    /// Returns the checksum of the parts' checksums, which are in base64.
    pub fn composite<'a>(self, parts: impl Iterator<Item = &'a str>) -> Checksum {
        let mut hasher = self.hasher();
        let mut count = 0;
        for part in parts {
            hasher.update(&STANDARD.decode(part).unwrap_or_default());
            count += 1;
        }
        Checksum {
            algorithm: self,
            value: format!("{}-{count}", hasher.finish().value),
            composite: true,
        }
    }
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub fn finish(self) -> Checksum {
        let mut digest = self.hasher.finalize();
        let (_, value) = declared_checksums!(digest).remove(0);
        Checksum {
            algorithm: self.algorithm,
            value,
            composite: false,
        }
    }
}

impl Digests {
    pub fn new(algorithm: Option<Algorithm>) -> Self {
        Self {
            md5: Md5::new(),
            checksum: algorithm.map(Algorithm::hasher),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        if let Some(hasher) = &mut self.checksum {
            hasher.update(bytes);
        }
    }

    /// Returns the 16 bytes of the MD5, and the checksum.
    pub fn finish(self) -> (Vec<u8>, Option<Checksum>) {
        (
            self.md5.finalize().to_vec(),
            self.checksum.map(Hasher::finish),
        )
    }
}

impl Checksum {
    pub fn type_dto(&self) -> ChecksumType {
        checksum_type(self.composite)
    }
}

pub fn checksum_type(composite: bool) -> ChecksumType {
    ChecksumType::from_static(match composite {
        true => ChecksumType::COMPOSITE,
        false => ChecksumType::FULL_OBJECT,
    })
}
