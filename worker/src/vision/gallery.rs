//! Known faces, and who of them a face is nearest to.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::bundle::LoadError;

const TENSOR: &str = "embeddings";
const NAMES: &str = "names";

/// Names and embeddings; several rows may carry the same name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gallery {
    names: Vec<String>,
    /// One row after the other, `dimension` numbers each.
    embeddings: Vec<f32>,
    dimension: usize,
}

/// The nearest row of a gallery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest<'a> {
    pub name: &'a str,
    /// Euclidean distance, 0 to 2 between unit vectors.
    pub distance: f32,
}

impl Gallery {
    /// An empty gallery: everybody is unknown.
    pub fn new(dimension: usize) -> Self {
        Self {
            dimension,
            ..Self::default()
        }
    }

    /// Panics if the embedding has another dimension than the gallery.
    pub fn push(&mut self, name: impl Into<String>, embedding: &[f32]) {
        assert_eq!(
            embedding.len(),
            self.dimension,
            "embeddings of one gallery have one dimension"
        );
        self.names.push(name.into());
        self.embeddings.extend_from_slice(embedding);
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Name and embedding of each row.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.names
            .iter()
            .map(String::as_str)
            .zip(self.embeddings.chunks_exact(self.dimension.max(1)))
    }

    /// The row with the smallest Euclidean distance, the first of equals; `None` if the gallery is empty.
    pub fn nearest(&self, embedding: &[f32]) -> Option<Nearest<'_>> {
        let mut best: Option<(usize, f32)> = None;
        for (row, (_, known)) in self.rows().enumerate() {
            let distance = squared_distance(known, embedding);
            if best.is_none_or(|(_, smallest)| distance < smallest) {
                best = Some((row, distance));
            }
        }
        best.map(|(row, squared)| Nearest {
            name: &self.names[row],
            distance: squared.sqrt(),
        })
    }

    /// Reads a safetensors file with `embeddings` [rows, dimension] in float32 and `names` as JSON in its metadata.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let bytes = std::fs::read(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        let invalid = |reason: String| LoadError::Invalid {
            path: path.to_owned(),
            reason,
        };
        let not_safetensors =
            |error: safetensors::SafeTensorError| invalid(format!("not a gallery file: {error}"));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(not_safetensors)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(not_safetensors)?;
        let names = metadata
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(NAMES));
        let names = names.ok_or_else(|| invalid(format!("its metadata have no {NAMES}")))?;
        let names: Vec<String> =
            serde_json::from_str(names).map_err(|error| invalid(format!("{NAMES}: {error}")))?;
        let tensor = tensors
            .tensor(TENSOR)
            .map_err(|_| invalid(format!("it has no tensor {TENSOR}")))?;
        let &[rows, dimension] = tensor.shape() else {
            return Err(invalid(format!(
                "{TENSOR} is {:?}, expected [rows, dimension]",
                tensor.shape()
            )));
        };
        if tensor.dtype() != Dtype::F32 || rows != names.len() {
            let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
            return Err(invalid(format!(
                "{TENSOR} is {found}, expected float32 with {} rows",
                names.len()
            )));
        }
        let words = tensor.data().as_chunks::<4>().0;
        let embeddings: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        if embeddings.iter().any(|value| !value.is_finite()) {
            return Err(invalid(format!(
                "{TENSOR} holds numbers that are not finite"
            )));
        }
        Ok(Self {
            names,
            embeddings,
            dimension,
        })
    }

    /// Writes what `load` reads, beside the target first, so that a reader never sees half a file.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let bytes: Vec<u8> = self
            .embeddings
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let tensor = TensorView::new(Dtype::F32, vec![self.len(), self.dimension], &bytes)
            .map_err(std::io::Error::other)?;
        let names = serde_json::to_string(&self.names)?;
        let metadata = HashMap::from([(NAMES.to_owned(), names)]);
        let file = safetensors::serialize([(TENSOR, tensor)], Some(metadata))
            .map_err(std::io::Error::other)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        std::fs::write(&beside, file)?;
        std::fs::rename(&beside, path)
    }
}

/// Sixteen sums side by side, which the compiler turns into vector instructions.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    let rest: f32 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    sums.iter().sum::<f32>() + rest
}
