//! Why a conversion fails.

use std::path::PathBuf;

use thiserror::Error;

use super::hdf5::Hdf5Error;
use super::torch_file::{TensorProblem, TorchFileError};
use crate::model::bundle::LoadError;

/// Why a conversion failed.
#[derive(Debug, Error)]
pub enum ConvertError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {reason}")]
    Content { path: PathBuf, reason: ContentError },
    #[error(
        "cannot copy the face detector (choose a bundle by --from, or weights by --mtcnn): {0}"
    )]
    Detector(#[source] LoadError),
    #[error(transparent)]
    Bundle(#[from] LoadError),
}

/// Why a file's content cannot be used.
#[derive(Debug, Error)]
pub enum ContentError {
    #[error(transparent)]
    File(#[from] TorchFileError),
    #[error(transparent)]
    Hdf5(#[from] Hdf5Error),
    #[error("tensor {tensor} {problem}")]
    Tensor {
        tensor: String,
        problem: TensorProblem,
    },
    #[error(
        "it holds {found}, expected a state dict, alone or under state_dict, model_state_dict, model or net: \
        torch.save(model.state_dict(), ...)"
    )]
    NotAStateDict { found: String },
    #[error("no layer of InceptionResnetV1 uses {}", list(tensors.iter().cloned()))]
    LeftOver { tensors: Vec<String> },
    #[error(
        "it holds {found}, expected a gallery: torch.save([embeddings, names], ...) with tensors and texts"
    )]
    NotAGallery { found: String },
    #[error("it has {embeddings} embeddings, but {names} names")]
    Unpaired { embeddings: usize, names: usize },
    #[error("it has no embeddings")]
    Empty,
    #[error("the embedding at index {row} ({name}) has length {length}, expected 1: normalize it")]
    NotUnit {
        row: usize,
        name: String,
        length: f64,
    },
}

impl ContentError {
    /// Returns the error of one tensor.
    pub fn of_tensor(tensor: &str, problem: TensorProblem) -> Self {
        Self::Tensor {
            tensor: tensor.to_owned(),
            problem,
        }
    }
}

/// Returns the first few names, and how many more there are.
pub fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
