//! Turns files that `torch.save` wrote into Muster's: a facenet-pytorch state dict into a model bundle, the list of
//! embeddings and names that classroom deployments have into a gallery. Nothing in the files is ever executed.
//!
//! ```text
//! bytes ──TorchFile::parse──▶ tensors, texts ──fold──▶ layers ──▶ bundle
//!                                            └─────────rows─────▶ gallery
//! ```

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::bundle::{BundleDescription, Distance, LoadError, Preprocessing};
use super::gallery::Gallery;

mod bundle_files;
// What is `pub(crate)` here is called by `fuzz/`, which compiles these modules into a crate of its own.
pub(crate) mod fold;
pub(crate) mod gallery_rows;
mod layers;
mod pickle;
mod state_dict;
pub(crate) mod torch_file;

pub use pickle::PickleError;
pub use torch_file::{TensorProblem, TorchFileError};

use torch_file::TorchFile;

/// What a state dict does not say about the bundle to be made of it.
#[derive(Debug, Clone)]
pub struct BundleOptions {
    /// The bundle's name, shown with each answer.
    pub name: String,
    /// Euclidean distance beyond which a face is nobody's in the gallery.
    pub threshold: f32,
    /// The bundle whose face detector is copied.
    pub detector_from: PathBuf,
}

/// What a TorchScript file does not say about the bundle to be made of it.
#[derive(Debug, Clone)]
pub struct TorchscriptOptions {
    pub bundle: BundleOptions,
    /// Side of the square crops that the network takes, in pixels.
    pub input_size: usize,
    /// Numbers in an embedding.
    pub embedding_size: usize,
    pub preprocessing: Preprocessing,
    pub distance: Distance,
    /// Pixels of the crop around the face's box, both sides together.
    pub crop_margin: usize,
}

/// Why a file was not converted.
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
    #[error("no face detector to copy: {0}")]
    Detector(#[source] LoadError),
    #[error(transparent)]
    Bundle(#[from] LoadError),
}

/// What is wrong with a file's content.
#[derive(Debug, Error)]
pub enum ContentError {
    #[error(transparent)]
    File(#[from] TorchFileError),
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
    #[error(
        "the embedding at index {row} ({name}) has length {length}, expected 1: it is not what the network returned"
    )]
    NotUnit {
        row: usize,
        name: String,
        length: f64,
    },
}

/// Makes the bundle `folder` from a state dict of facenet-pytorch's `InceptionResnetV1`, with whatever embedding size.
/// Each file is written beside its place and renamed; `bundle.json`, which makes the folder a bundle, comes last.
///
/// # Errors
/// When a file cannot be read or written, or is not such a state dict to the last tensor.
pub fn convert_state_dict(
    file: &Path,
    folder: &Path,
    options: &BundleOptions,
) -> Result<BundleDescription, ConvertError> {
    let detector = bundle_files::Detector::of(&options.detector_from)?;
    let embedder = with_torch_file(file, fold::embedder)?;
    bundle_files::write(folder, file, &embedder, &detector, options)
}

/// Makes the bundle `folder` of a TorchScript file, which is copied as it is: whether it can be used shows when an
/// engine loads the bundle.
///
/// # Errors
/// When a file cannot be read or written, or the options cannot be used.
pub fn convert_torchscript(
    file: &Path,
    folder: &Path,
    options: &TorchscriptOptions,
) -> Result<BundleDescription, ConvertError> {
    let detector = bundle_files::Detector::of(&options.bundle.detector_from)?;
    let script = std::fs::read(file).map_err(|source| ConvertError::Read {
        path: file.to_owned(),
        source,
    })?;
    bundle_files::write_torchscript(folder, file, &script, &detector, options)
}

/// Reads a `[embeddings, names]` list: as embeddings a list of tensors [1, D] or [D], or one tensor [N, D].
///
/// # Errors
/// When the file cannot be read, is not such a list, or has an embedding whose length is not 1.
pub fn read_gallery(file: &Path) -> Result<Gallery, ConvertError> {
    with_torch_file(file, gallery_rows::gallery)
}

fn with_torch_file<T>(
    path: &Path,
    convert: impl FnOnce(&TorchFile<'_>) -> Result<T, ContentError>,
) -> Result<T, ConvertError> {
    let bytes = std::fs::read(path).map_err(|source| ConvertError::Read {
        path: path.to_owned(),
        source,
    })?;
    let parsed = TorchFile::parse(&bytes).map_err(ContentError::from);
    parsed
        .and_then(|file| convert(&file))
        .map_err(|reason| ConvertError::Content {
            path: path.to_owned(),
            reason,
        })
}

/// The first few names, and how many more there are.
fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
