//! The bytes of an upload: verified while they arrive, and never all in memory when they are many.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http::{Extensions, HeaderMap};
use md5::{Digest, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders};
use serde::Serialize;

use super::aws_chunked::DecodedTrailers;
use super::checksums::{Algorithm, Checksum};
use super::failure::{failure, failure_with, internal};
use super::store::{Store, Temporary, footer};

/// Files up to this size are written at once: it takes less than a change of threads. Larger ones are written by
/// other threads, in pieces of this size.
pub const WRITTEN_AT_ONCE_BYTES: usize = 256 * 1024;
/// What one upload may hold.
pub const MOST_UPLOAD_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// What the client says of its bytes.
#[derive(Debug, Default)]
pub struct Declared {
    pub content_length: Option<i64>,
    /// In base64.
    pub content_md5: Option<String>,
    pub checksums: Vec<(Algorithm, String)>,
    /// The checksum that is to come after the bytes.
    pub trailer: Option<Algorithm>,
    /// What to compute if nothing is declared.
    pub otherwise: Option<Algorithm>,
}

/// Bytes that have arrived and are what the client says.
#[derive(Debug)]
pub struct Received {
    pub pending: Pending,
    pub size: u64,
    /// The MD5 in hexadecimal, which is the entity tag.
    pub etag: String,
    pub checksum: Option<Checksum>,
}

/// A file that is being written.
#[derive(Debug, Default)]
pub struct Pending {
    buffer: Vec<u8>,
    file: Option<Temporary>,
}

impl Declared {
    /// The trailing checksum that the headers announce.
    ///
    /// # Errors
    /// `InvalidRequest` for a trailer that S3 does not know.
    pub fn announced_trailer(headers: &HeaderMap) -> S3Result<Option<Algorithm>> {
        let Some(names) = headers.get("x-amz-trailer") else {
            return Ok(None);
        };
        let names = names.to_str().unwrap_or_default().trim();
        let announced = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.header().eq_ignore_ascii_case(names));
        match announced {
            Some(algorithm) => Ok(Some(algorithm)),
            None => Err(failure_with(
                S3ErrorCode::InvalidRequest,
                "The value specified in the x-amz-trailer header is not supported",
            )),
        }
    }

    /// Reads the bytes and verifies them.
    ///
    /// # Errors
    /// Where they are not what was declared, or do not all arrive.
    pub async fn receive(
        mut self,
        store: &Store,
        body: Option<StreamingBlob>,
        trailers: Option<Trailers>,
    ) -> S3Result<Received> {
        if self
            .content_length
            .is_some_and(|length| length as u64 > MOST_UPLOAD_BYTES)
        {
            return Err(failure(S3ErrorCode::EntityTooLarge));
        }
        let expected_md5 = self.expected_md5()?;
        let algorithm = self.algorithm()?;
        let mut hasher = algorithm.map(Algorithm::hasher);
        let mut md5 = Md5::new();
        let mut pending = Pending::default();
        let mut size = 0;
        if let Some(mut body) = body {
            while let Some(bytes) = body.next().await {
                let bytes = bytes.map_err(broken_upload)?;
                size += bytes.len() as u64;
                if size > MOST_UPLOAD_BYTES {
                    return Err(failure(S3ErrorCode::EntityTooLarge));
                }
                md5.update(&bytes);
                if let Some(hasher) = &mut hasher {
                    hasher.update(&bytes);
                }
                pending.push(store, &bytes).await?;
            }
        }
        if let Some(trailer) = self.trailer {
            let value = trailers.and_then(|trailers| trailers.take(trailer.header()));
            let value = value.ok_or_else(|| {
                failure_with(
                    S3ErrorCode::Custom("MalformedTrailerError".into()),
                    "The request contained trailing data that was not well-formed or did not conform to our published schema.",
                )
            })?;
            self.checksums.push((trailer, value));
        }
        let md5 = md5.finalize();
        if expected_md5.is_some_and(|expected| expected != md5[..]) {
            return Err(failure(S3ErrorCode::BadDigest));
        }
        let checksum = algorithm.zip(hasher).map(|(algorithm, hasher)| Checksum {
            algorithm,
            value: hasher.finish(),
            composite: false,
        });
        if let (Some((_, declared)), Some(checksum)) = (self.checksums.first(), &checksum)
            && *declared != checksum.value
        {
            return Err(failure_with(
                S3ErrorCode::BadDigest,
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    checksum.algorithm.name()
                ),
            ));
        }
        Ok(Received {
            pending,
            size,
            etag: hex::encode(md5),
            checksum,
        })
    }

    fn expected_md5(&self) -> S3Result<Option<Vec<u8>>> {
        let Some(text) = &self.content_md5 else {
            return Ok(None);
        };
        match STANDARD.decode(text) {
            Ok(md5) if md5.len() == 16 => Ok(Some(md5)),
            _ => Err(failure(S3ErrorCode::InvalidDigest)),
        }
    }

    fn algorithm(&self) -> S3Result<Option<Algorithm>> {
        let declared = self.checksums.iter().map(|(algorithm, _)| *algorithm);
        let mut all = declared.chain(self.trailer);
        let first = all.next();
        if all.next().is_some() {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        if let Some((algorithm, value)) = self.checksums.first()
            && !algorithm.can_be(value)
        {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                format!("Value for {} header is invalid.", algorithm.header()),
            ));
        }
        Ok(first.or(self.otherwise))
    }
}

impl Pending {
    /// Adds bytes to the end.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn push(&mut self, store: &Store, bytes: &[u8]) -> S3Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > WRITTEN_AT_ONCE_BYTES {
            self.flush_elsewhere(store).await.map_err(internal)?;
        }
        Ok(())
    }

    /// Adds bytes to the end, on a thread that may wait.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn push_here(&mut self, store: &Store, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > WRITTEN_AT_ONCE_BYTES {
            self.flush_here(store)?;
        }
        Ok(())
    }

    /// Writes the rest and the metadata behind it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn seal_here(mut self, store: &Store, metadata: &impl Serialize) -> io::Result<Temporary> {
        self.buffer.extend_from_slice(&footer(metadata)?);
        self.flush_here(store)?;
        self.file
            .ok_or_else(|| io::Error::other("nothing was written"))
    }

    fn flush_here(&mut self, store: &Store) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => store.temporary()?,
        };
        file.write(&self.buffer)?;
        self.buffer.clear();
        self.file = Some(file);
        Ok(())
    }

    async fn flush_elsewhere(&mut self, store: &Store) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => store.temporary()?,
        };
        let buffer = std::mem::take(&mut self.buffer);
        let (file, mut buffer) = on_other_thread(move || {
            file.write(&buffer)?;
            Ok((file, buffer))
        })
        .await?;
        buffer.clear();
        self.buffer = buffer;
        self.file = Some(file);
        Ok(())
    }
}

/// Runs what may wait for the disk.
///
/// # Errors
/// Those of `work`.
pub async fn on_other_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// Where the headers after a body are found.
#[derive(Debug)]
pub enum Trailers {
    Verified(TrailingHeaders),
    Decoded(DecodedTrailers),
}

impl Trailers {
    /// The trailers of a request: `s3s` decoded the body, or we did.
    pub fn of(verified: Option<TrailingHeaders>, extensions: &mut Extensions) -> Option<Self> {
        let decoded = || extensions.remove().map(Self::Decoded);
        verified.map(Self::Verified).or_else(decoded)
    }

    fn take(self, name: &str) -> Option<String> {
        let headers = match self {
            Self::Verified(trailers) => trailers.take()?,
            Self::Decoded(trailers) => trailers.take(),
        };
        Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
    }
}

/// Why a body ended before its end. The errors of `s3s` tell it only by their texts.
fn broken_upload(error: StdError) -> S3Error {
    let reason = error.to_string();
    if reason.contains("Sha256Mismatch") {
        failure_with(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    } else if reason.contains("SignatureMismatch") {
        failure(S3ErrorCode::SignatureDoesNotMatch)
    } else {
        tracing::debug!(%error, "an upload broke off");
        failure(S3ErrorCode::IncompleteBody)
    }
}
