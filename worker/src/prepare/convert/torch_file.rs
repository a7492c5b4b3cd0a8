//! The two containers of `torch.save`: a zip archive (since torch 1.6) and, before that, pickles followed by storages.

use std::collections::HashMap;
use std::io::Cursor;

use half::{bf16, f16};
use thiserror::Error;
use zip::ZipArchive;

use super::pickle::{ElementType, Objects, Pickle, PickleError, Tensor, TensorStorage, Value};

/// The number 0x1950a86a20f9469cfc6c, which is all that the older form's first pickle holds.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
const LEGACY_PROTOCOL: Value<'_> = Value::Integer(1001);
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
const PICKLE_ENTRY: &str = "data.pkl";
const NO_PICKLE: TorchFileError = TorchFileError::NotTorch {
    found: "a zip archive without data.pkl",
};
/// Only TorchScript archives have it.
const SCRIPT_ENTRY: &str = "constants.pkl";

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum TorchFileError {
    #[error("it is {found}, expected a file that torch.save writes")]
    NotTorch { found: &'static str },
    #[error(
        "it is a TorchScript archive, which holds code: convert it as --torchscript, or save its tensors, \
        torch.save(torch.jit.load(file).state_dict(), ...)"
    )]
    TorchScript,
    #[error("its zip archive is damaged or cut short: {reason}")]
    Zip { reason: String },
    #[error(transparent)]
    Pickle(#[from] PickleError),
    #[error("it is damaged: its header is not torch.save's")]
    Header,
    #[error("it was written by a big-endian machine, which is not supported")]
    BigEndian,
    #[error(
        "it is damaged or cut short: storage {key} should have {expected} bytes, found {found}"
    )]
    Storage {
        key: String,
        expected: String,
        found: String,
    },
}

/// Why a tensor cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TensorProblem {
    #[error("is missing, expected {expected}")]
    Missing { expected: String },
    #[error("is {found}, expected a tensor")]
    NotATensor { found: &'static str },
    #[error("has shape {found:?}, expected {expected}")]
    Shape { found: Vec<usize>, expected: String },
    #[error("holds {found}, expected torch.float32, float64, float16 or bfloat16")]
    Dtype { found: ElementType },
    #[error("is there twice, with and without a prefix")]
    Twice,
    #[error("reaches beyond its storage")]
    OutOfStorage,
    #[error("is larger than its file")]
    LargerThanFile,
    #[error("holds numbers that are not finite, or makes them when its batch norm is folded")]
    NotFinite,
}

/// A parsed file; its storages are slices of the bytes.
#[derive(Debug)]
pub struct TorchFile<'a> {
    pub root: Value<'a>,
    pub objects: Objects<'a>,
    storages: HashMap<&'a str, &'a [u8]>,
    /// Bytes in the file, which bound the elements of a tensor.
    pub length: usize,
}

impl<'a> TorchFile<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TorchFileError> {
        if bytes.starts_with(ZIP_MAGIC) {
            Self::parse_zip(bytes)
        } else if let Some(rest) = behind_legacy_magic(bytes) {
            Self::parse_legacy(rest)
        } else {
            let found = match bytes {
                [] => "empty",
                [0x80, 2..=5, ..] => "a pickle without torch.save's header",
                _ => "neither a zip archive nor a pickle of protocol 2 to 5",
            };
            Err(TorchFileError::NotTorch { found })
        }
    }

    /// Reads `<folder>/data.pkl`, `<folder>/data/<key>` for each storage and, in newer files, `<folder>/byteorder`.
    fn parse_zip(bytes: &'a [u8]) -> Result<Self, TorchFileError> {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged_zip)?;
        let folder = archive
            .file_names()
            .filter_map(|name| name.strip_suffix(PICKLE_ENTRY))
            .min_by_key(|folder| folder.len())
            .ok_or(NO_PICKLE)?
            .to_owned();
        if archive
            .index_for_name(&format!("{folder}{SCRIPT_ENTRY}"))
            .is_some()
        {
            return Err(TorchFileError::TorchScript);
        }
        let mut entry = |name: &str| zip_entry(&mut archive, bytes, &format!("{folder}{name}"));
        if let Some(order) = entry("byteorder")?
            && order != b"little"
        {
            return Err(TorchFileError::BigEndian);
        }
        let pickle = Pickle::read(entry(PICKLE_ENTRY)?.ok_or(NO_PICKLE)?)?;
        let mut storages = HashMap::new();
        for storage in &pickle.objects.storages {
            if storages.contains_key(storage.key) {
                continue;
            }
            let content = entry(&format!("data/{}", storage.key))?.unwrap_or_default();
            storages.insert(storage.key, content);
        }
        Self::checked(pickle, storages, bytes.len())
    }

    /// Reads pickles of the protocol's version, the machine, the object and the storages' keys, and then the count and
    /// content of each storage.
    fn parse_legacy(bytes: &'a [u8]) -> Result<Self, TorchFileError> {
        let mut rest = bytes;
        let mut next = || -> Result<Pickle<'a>, PickleError> {
            let pickle = Pickle::read(rest)?;
            rest = &rest[pickle.length..];
            Ok(pickle)
        };
        if next()?.root != LEGACY_PROTOCOL {
            return Err(TorchFileError::Header);
        }
        let system = next()?;
        match system.objects.get(system.root, "little_endian") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(TorchFileError::BigEndian),
            _ => return Err(TorchFileError::Header),
        }
        let (pickle, keys) = (next()?, next()?);
        let sizes: HashMap<&str, usize> = pickle
            .objects
            .storages
            .iter()
            .map(|storage| (storage.key, storage.element.size()))
            .collect();
        let mut storages = HashMap::new();
        for &key in keys.objects.elements(keys.root).unwrap_or_default() {
            let Value::Text(key) = key else {
                return Err(TorchFileError::Header);
            };
            let size = *sizes.get(key).ok_or(TorchFileError::Header)?;
            let (count, content) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
            let length = usize::try_from(u64::from_le_bytes(*count))
                .unwrap_or(usize::MAX)
                .saturating_mul(size)
                .min(content.len());
            let (content, behind) = content.split_at(length);
            storages.insert(key, content);
            rest = behind;
        }
        Self::checked(pickle, storages, bytes.len())
    }

    fn checked(
        pickle: Pickle<'a>,
        storages: HashMap<&'a str, &'a [u8]>,
        length: usize,
    ) -> Result<Self, TorchFileError> {
        for storage in &pickle.objects.storages {
            let found = storages.get(storage.key).map(|content| content.len());
            let expected = storage.count.checked_mul(storage.element.size());
            if expected.is_none() || found != expected {
                let text = |bytes: Option<usize>, none: &str| {
                    bytes.map_or_else(|| none.to_owned(), |bytes| bytes.to_string())
                };
                return Err(TorchFileError::Storage {
                    key: storage.key.to_owned(),
                    expected: text(expected, "too many"),
                    found: text(found, "none"),
                });
            }
        }
        Ok(Self {
            root: pickle.root,
            objects: pickle.objects,
            storages,
            length,
        })
    }

    /// Returns the tensor's values in row-major order, as float32.
    pub fn values(&self, tensor: &Tensor) -> Result<Vec<f32>, TensorProblem> {
        let storage = &self.objects.storages[tensor.storage];
        let positions = self.positions(tensor, storage)?;
        let content = self.storages[storage.key];
        macro_rules! gather {
            ($number:ty, $convert:expr) => {{
                let (numbers, _) = content.as_chunks();
                let value = |position: usize| $convert(<$number>::from_le_bytes(numbers[position]));
                Ok(positions.into_iter().map(value).collect())
            }};
        }
        match storage.element {
            ElementType::Float32 => gather!(f32, f32::from),
            ElementType::Float64 => gather!(f64, |value| value as f32),
            ElementType::Float16 => gather!(f16, f32::from),
            ElementType::BFloat16 => gather!(bf16, f32::from),
            found => Err(TensorProblem::Dtype { found }),
        }
    }

    /// Returns the position of each element in the tensor's storage.
    fn positions(
        &self,
        tensor: &Tensor,
        storage: &TensorStorage<'_>,
    ) -> Result<Vec<usize>, TensorProblem> {
        let mut count = 1usize;
        let mut last = tensor.offset;
        for (&size, &stride) in tensor.shape.iter().zip(&tensor.strides) {
            count = count.saturating_mul(size);
            last = last.saturating_add(size.saturating_sub(1).saturating_mul(stride));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        if last >= storage.count {
            return Err(TensorProblem::OutOfStorage);
        }
        // Zero strides can expand a small storage enormously.
        if count > self.length {
            return Err(TensorProblem::LargerThanFile);
        }
        let mut positions = vec![tensor.offset];
        for (&size, &stride) in tensor.shape.iter().zip(&tensor.strides) {
            positions = positions
                .iter()
                .flat_map(|start| (0..size).map(move |index| start + index * stride))
                .collect();
        }
        Ok(positions)
    }
}

/// Returns the bytes behind the first pickle of the older form, if that is there. Protocols 4 and 5 put a pickle into a
/// frame.
fn behind_legacy_magic(bytes: &[u8]) -> Option<&[u8]> {
    let ([0x80, protocol], rest) = bytes.split_first_chunk()? else {
        return None;
    };
    let frame = if *protocol < 4 { 0 } else { 9 };
    rest.get(frame..)?.strip_prefix(LEGACY_MAGIC)
}

/// Returns an entry's content after verifying its checksum; `None` if there is no such entry.
fn zip_entry<'a>(
    archive: &mut ZipArchive<Cursor<&'a [u8]>>,
    bytes: &'a [u8],
    name: &str,
) -> Result<Option<&'a [u8]>, TorchFileError> {
    let Some(index) = archive.index_for_name(name) else {
        return Ok(None);
    };
    let mut entry = archive.by_index(index).map_err(damaged_zip)?;
    let read = std::io::copy(&mut entry, &mut std::io::sink());
    let length = read.map_err(|error| TorchFileError::Zip {
        reason: format!("{name}: {error}"),
    })?;
    let start = entry
        .data_start()
        .and_then(|start| usize::try_from(start).ok());
    let content = start
        .and_then(|start| bytes.get(start..))
        .and_then(|content| content.get(..usize::try_from(length).ok()?));
    content.map(Some).ok_or_else(|| TorchFileError::Zip {
        reason: format!("{name} lies outside"),
    })
}

fn damaged_zip(error: zip::result::ZipError) -> TorchFileError {
    TorchFileError::Zip {
        reason: error.to_string(),
    }
}
