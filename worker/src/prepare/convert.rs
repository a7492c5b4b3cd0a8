//! Turns published weights into Muster's model bundles, and the list of embeddings and names that classroom deployments
//! have into galleries. Nothing in the files is ever executed.
//!
//! ```text
//! Keras file ──hdf5──▶ KerasWeights ──┐
//!                                     ├─fold─▶ layers ─panels─▶ bundle
//! torch file ─┬─pickle─▶ StateDict  ──┘                           ▲
//!             │             └───────────detector──────────────────┘
//!             └─pickle─▶ [embeddings, names] ──gallery_rows──▶ gallery
//! ```

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::model::bundle::{BundleDescription, Distance, LoadError, Preprocessing};
use crate::vision::Gallery;

mod bundle_files;
mod detector;
// What is `pub(crate)` here is called by `fuzz/`, which compiles these modules into a crate of its own.
pub(crate) mod fold;
pub(crate) mod gallery_rows;
pub(crate) mod hdf5;
pub(crate) mod keras;
mod layers;
mod pickle;
pub(crate) mod state_dict;
pub(crate) mod torch_file;

pub use detector::DetectorSource;
pub use hdf5::Hdf5Error;
pub use pickle::PickleError;
pub use torch_file::{TensorProblem, TorchFileError};

use detector::Detector;
use keras::KerasWeights;
use state_dict::StateDict;
use torch_file::TorchFile;

/// What a file of weights does not say about its bundle.
#[derive(Debug, Clone)]
pub struct BundleOptions {
    /// The bundle's name, part of each result.
    pub name: String,
    /// Euclidean distance beyond which a face is unknown.
    pub threshold: f32,
    pub detector: DetectorSource,
    /// Where the weights come from, for people; absent: the files' names.
    pub source: Option<String>,
}

/// What a TorchScript file does not say about its bundle.
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

/// Makes the bundle `folder` from a model file of Keras with an Inception-ResNet v1, such as `facenet_keras.h5`.
/// Each file is written beside its place and renamed; `bundle.json`, which makes the folder a bundle, comes last.
///
/// # Errors
/// When a file cannot be read or written, or a tensor is missing or left over.
pub fn convert_keras(
    file: &Path,
    folder: &Path,
    options: &BundleOptions,
) -> Result<BundleDescription, ConvertError> {
    let detector = Detector::load(&options.detector)?;
    let bytes = read(file)?;
    let embedder = KerasWeights::parse(&bytes)
        .and_then(fold::embedder)
        .map_err(|reason| content_error(file, reason))?;
    let origin = format!("Keras file {}", file_name(file));
    let preprocessing = Preprocessing::PerImageStandardised;
    bundle_files::write(
        folder,
        &origin,
        &embedder,
        preprocessing,
        &detector,
        options,
    )
}

/// Makes the bundle `folder` from a state dict of facenet-pytorch's `InceptionResnetV1`, of any embedding size. Files
/// are written as by [`convert_keras`].
///
/// # Errors
/// When a file cannot be read or written, or a tensor is missing or left over.
pub fn convert_state_dict(
    file: &Path,
    folder: &Path,
    options: &BundleOptions,
) -> Result<BundleDescription, ConvertError> {
    let detector = Detector::load(&options.detector)?;
    let embedder = with_torch_file(file, |file| fold::embedder(StateDict::of(file)?))?;
    let origin = format!("InceptionResnetV1 of facenet-pytorch, {}", file_name(file));
    bundle_files::write(
        folder,
        &origin,
        &embedder,
        Preprocessing::Fixed,
        &detector,
        options,
    )
}

/// Makes the bundle `folder` from a TorchScript file, which is copied unchanged: an engine that loads the bundle checks
/// it.
///
/// # Errors
/// When a file cannot be read or written, or the options cannot be used.
pub fn convert_torchscript(
    file: &Path,
    folder: &Path,
    options: &TorchscriptOptions,
) -> Result<BundleDescription, ConvertError> {
    let detector = Detector::load(&options.bundle.detector)?;
    let script = read(file)?;
    let origin = format!("TorchScript file {}", file_name(file));
    bundle_files::write_torchscript(folder, &origin, &script, &detector, options)
}

/// Reads a `[embeddings, names]` list: as embeddings a list of tensors `[1, D]` or `[D]`, or one tensor `[N, D]`.
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
    let bytes = read(path)?;
    TorchFile::parse(&bytes)
        .map_err(ContentError::from)
        .and_then(|file| convert(&file))
        .map_err(|reason| content_error(path, reason))
}

fn read(path: &Path) -> Result<Vec<u8>, ConvertError> {
    std::fs::read(path).map_err(|source| ConvertError::Read {
        path: path.to_owned(),
        source,
    })
}

fn content_error(path: &Path, reason: ContentError) -> ConvertError {
    ConvertError::Content {
        path: path.to_owned(),
        reason,
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Returns the first few names, and how many more there are.
fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
