//! Weight files: safetensors in a memory map, read by name, every shape checked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use thiserror::Error;

use crate::kernels::instructions::InstructionsError;
use crate::kernels::{Mapped, MappedFile, Plain};

/// Why a weight file cannot be used.
#[derive(Debug, Error)]
pub enum WeightsError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not a safetensors file: {reason}")]
    NotSafetensors { path: PathBuf, reason: String },
    #[error("{path} has no tensor {tensor} (expected {kind} {expected:?})")]
    Missing {
        path: PathBuf,
        tensor: String,
        kind: &'static str,
        expected: Vec<usize>,
    },
    #[error("{path}: tensor {tensor} is {found}, expected {kind} {expected:?}")]
    Shape {
        path: PathBuf,
        tensor: String,
        found: String,
        kind: &'static str,
        expected: Vec<usize>,
    },
    #[error(transparent)]
    Instructions(#[from] InstructionsError),
}

/// One open weight file.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    file: MappedFile,
    tensors: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes from the file's first.
    offset: usize,
    /// In bytes.
    length: usize,
}

impl WeightFile {
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let read = |source| WeightsError::Read {
            path: path.to_owned(),
            source,
        };
        let file = MappedFile::open(path).map_err(read)?;
        let tensors = {
            let bytes = file.bytes();
            let parsed =
                SafeTensors::deserialize(bytes).map_err(|error| WeightsError::NotSafetensors {
                    path: path.to_owned(),
                    reason: error.to_string(),
                })?;
            let entry = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
                let offset = view.data().as_ptr().addr() - bytes.as_ptr().addr();
                let length = view.data().len();
                (
                    name,
                    Entry {
                        dtype: view.dtype(),
                        shape: view.shape().to_vec(),
                        offset,
                        length,
                    },
                )
            };
            parsed.tensors().into_iter().map(entry).collect()
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            tensors,
        })
    }

    /// Returns a copy of the tensor's values in row-major order, for the small networks, which repack them.
    pub fn values(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let entry = self.entry::<f32>(name, expected)?;
        let bytes = &self.file.bytes()[entry.offset..entry.offset + entry.length];
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    /// Returns the tensor's values in row-major order, in the mapped file.
    pub fn mapped<T: Element>(
        &self,
        name: &str,
        expected: &[usize],
    ) -> Result<Mapped<T>, WeightsError> {
        let entry = self.entry::<T>(name, expected)?;
        let length = expected.iter().product();
        let mapped = self.file.mapped(entry.offset, length);
        mapped.ok_or_else(|| self.wrong_shape::<T>(name, entry, ", misaligned", expected))
    }

    /// Returns the tensor for writing it into another file.
    pub fn copy(&self, name: &str) -> Result<NewTensor, WeightsError> {
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| WeightsError::Missing {
                path: self.path.clone(),
                tensor: name.to_owned(),
                kind: "float32",
                expected: Vec::new(),
            })?;
        let bytes = &self.file.bytes()[entry.offset..entry.offset + entry.length];
        Ok(NewTensor::new(
            name,
            entry.dtype,
            &entry.shape,
            bytes.to_vec(),
        ))
    }

    fn entry<T: Element>(&self, name: &str, expected: &[usize]) -> Result<&Entry, WeightsError> {
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| WeightsError::Missing {
                path: self.path.clone(),
                tensor: name.to_owned(),
                kind: T::NAME,
                expected: expected.to_vec(),
            })?;
        if entry.dtype != T::DTYPE || entry.shape != expected {
            return Err(self.wrong_shape::<T>(name, entry, "", expected));
        }
        Ok(entry)
    }

    fn wrong_shape<T: Element>(
        &self,
        name: &str,
        entry: &Entry,
        fault: &str,
        expected: &[usize],
    ) -> WeightsError {
        WeightsError::Shape {
            path: self.path.clone(),
            tensor: name.to_owned(),
            found: format!("{:?} {:?}{fault}", entry.dtype, entry.shape),
            kind: T::NAME,
            expected: expected.to_vec(),
        }
    }
}

/// A type of a tensor's elements.
pub trait Element: Plain {
    const DTYPE: Dtype;
    const NAME: &'static str;
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
    const NAME: &'static str = "float32";
}

impl Element for i8 {
    const DTYPE: Dtype = Dtype::I8;
    const NAME: &'static str = "int8";
}

/// A tensor to write.
#[derive(Debug)]
pub struct NewTensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl NewTensor {
    pub fn floats(
        name: impl Into<String>,
        shape: &[usize],
        values: impl IntoIterator<Item = f32>,
    ) -> Self {
        Self::new(
            name,
            Dtype::F32,
            shape,
            values.into_iter().flat_map(f32::to_le_bytes).collect(),
        )
    }

    pub fn bytes(
        name: impl Into<String>,
        shape: &[usize],
        values: impl IntoIterator<Item = i8>,
    ) -> Self {
        Self::new(
            name,
            Dtype::I8,
            shape,
            values.into_iter().map(i8::cast_unsigned).collect(),
        )
    }

    fn new(name: impl Into<String>, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            bytes,
        }
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Bytes in the longest vector: tensors begin at multiples of it.
const ALIGNMENT: usize = 64;

/// Writes a safetensors file beside its place, as [`write_beside`] does.
pub fn write(path: &Path, tensors: &[NewTensor]) -> std::io::Result<()> {
    write_beside(path, |file| write_to(file, tensors))
}

/// Writes the tensors in the order given. The first one begins at a multiple of 64 bytes, and so does each later one if
/// the sizes before it are multiples. (The crate's own writer aligns to 8 and chooses the order.)
pub fn write_to(out: &mut impl Write, tensors: &[NewTensor]) -> std::io::Result<()> {
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for NewTensor {
        name,
        dtype,
        shape,
        bytes,
    } in tensors
    {
        let end = offset + bytes.len();
        header.insert(
            name.clone(),
            serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}),
        );
        offset = end;
    }
    let mut header = serde_json::to_string(&header)?;
    let unpadded = size_of::<u64>() + header.len();
    header.extend(std::iter::repeat_n(
        ' ',
        unpadded.next_multiple_of(ALIGNMENT) - unpadded,
    ));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    tensors
        .iter()
        .try_for_each(|tensor| out.write_all(&tensor.bytes))
}

/// Writes a file beside its place and renames it. A reader never sees half of it, and a process that has mapped the old
/// file keeps it. The new file has the owner and the mode of the old one, as `platform::access::Keys::write` has it.
/// (`fuzz/` compiles this module without that crate.)
pub fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let attempt = || {
        let mut file = BufWriter::new(File::create(&beside)?);
        write(&mut file)?;
        let file = file.into_inner()?;
        if let Ok(before) = std::fs::metadata(path) {
            fchown(&file, Some(before.uid()), Some(before.gid())).map_err(|error| {
                let advice = "it belongs to another user: run this as that user, or as root";
                std::io::Error::new(error.kind(), format!("{advice} ({error})"))
            })?;
            file.set_permissions(before.permissions())?;
        }
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    attempt().inspect_err(|_| {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&beside);
    })
}
