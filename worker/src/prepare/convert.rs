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

use std::path::Path;

use crate::model::bundle::{BundleDescription, Preprocessing};
use crate::vision::Gallery;

mod bundle_files;
mod detector;
mod error;
// What is `pub(crate)` here is called by `fuzz/`, which compiles these modules into a crate of its own.
pub(crate) mod fold;
pub(crate) mod gallery_rows;
pub(crate) mod hdf5;
mod input;
pub(crate) mod keras;
mod layers;
mod pickle;
pub(crate) mod state_dict;
pub(crate) mod torch_file;

pub use bundle_files::{BundleOptions, TorchscriptOptions};
pub use detector::DetectorSource;
pub use error::{ContentError, ConvertError};
pub use hdf5::Hdf5Error;
pub use pickle::PickleError;
pub use torch_file::{TensorProblem, TorchFileError};

use detector::DetectorFiles;
use input::{content_error, read, with_torch_file};
use keras::KerasWeights;
use state_dict::StateDict;

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
    let detector = DetectorFiles::load(&options.detector)?;
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
    let detector = DetectorFiles::load(&options.detector)?;
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
    let detector = DetectorFiles::load(&options.bundle.detector)?;
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

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
