//! Weight files: safetensors in a memory map, read by name, every shape checked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use thiserror::Error;

use super::native::{MappedFile, Parameter};

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
    #[error("{path} has no tensor {tensor} (expected float32 {expected:?})")]
    Missing {
        path: PathBuf,
        tensor: String,
        expected: Vec<usize>,
    },
    #[error("{path}: tensor {tensor} is {found}, expected float32 {expected:?}")]
    Shape {
        path: PathBuf,
        tensor: String,
        found: String,
        expected: Vec<usize>,
    },
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
    offset: usize,
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

    /// A copy of the tensor's values in row-major order, for the small networks that repack them.
    pub fn values(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let entry = self.entry(name, expected)?;
        let bytes = &self.file.bytes()[entry.offset..entry.offset + entry.length];
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    /// A matrix or vector as a tensor over the mapped file.
    pub fn parameter(&self, name: &str, expected: &[usize]) -> Result<Parameter, WeightsError> {
        let entry = self.entry(name, expected)?;
        let sizes: Vec<i64> = expected.iter().map(|&size| size as i64).collect();
        let mut strides = vec![1; sizes.len()];
        for axis in (1..sizes.len()).rev() {
            strides[axis - 1] = strides[axis] * sizes[axis];
        }
        Ok(self.file.parameter(entry.offset, &sizes, &strides))
    }

    /// A convolution's kernel, stored as [out, height, width, in], as the [out, in, height, width] tensor that libtorch
    /// takes for channels-last memory.
    pub fn kernel(&self, name: &str, expected: [usize; 4]) -> Result<Parameter, WeightsError> {
        let entry = self.entry(name, &expected)?;
        let [out, height, width, input] = expected.map(|size| size as i64);
        let strides = [height * width * input, 1, width * input, input];
        Ok(self
            .file
            .parameter(entry.offset, &[out, input, height, width], &strides))
    }

    fn entry(&self, name: &str, expected: &[usize]) -> Result<&Entry, WeightsError> {
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| WeightsError::Missing {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
            })?;
        let aligned = entry.offset % align_of::<f32>() == 0;
        if entry.dtype != Dtype::F32 || entry.shape != expected || !aligned {
            return Err(WeightsError::Shape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: format!(
                    "{:?} {:?}{}",
                    entry.dtype,
                    entry.shape,
                    if aligned { "" } else { ", misaligned" }
                ),
                expected: expected.to_vec(),
            });
        }
        Ok(entry)
    }
}
