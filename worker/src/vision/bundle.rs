//! A model bundle: a folder with `bundle.json`, which says what the weights want, and the weight files it names.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::weights::{WeightsError, write_beside};

/// The file that makes a folder a bundle.
pub const BUNDLE_FILE: &str = "bundle.json";

/// The version of bundles that is read and written.
pub const FORMAT: u32 = 2;

/// `bundle.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleDescription {
    /// Version of this very format: 2. Its kernels lie in panels, see `vision::panels`.
    pub format: u32,
    /// Shown with each answer.
    pub name: String,
    /// Numbers in an embedding.
    pub embedding_size: usize,
    /// Side of the square face crop, in pixels.
    pub input_size: usize,
    pub preprocessing: Preprocessing,
    /// Pixels of the crop around the face's box, both sides together.
    pub crop_margin: usize,
    /// Euclidean distance beyond which a face is nobody's in the gallery.
    pub threshold: f32,
    pub embedder: PathBuf,
    /// The embedder's weights for 8-bit integers; absent before `worker calibrate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedder_int8: Option<PathBuf>,
    pub pnet: PathBuf,
    pub rnet: PathBuf,
    pub onet: PathBuf,
    /// Where the weights come from, for people.
    pub source: String,
}

/// What is done to the crop's bytes before the network sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preprocessing {
    /// (value - 127.5) / 128.
    Fixed,
    /// (value - mean) / deviation, over all pixels and channels of the crop.
    PerImageStandardised,
}

/// Why a bundle or a gallery cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {path}: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {reason}")]
    Invalid { path: PathBuf, reason: String },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("the model {model} is not calibrated for int8; `worker calibrate` does that")]
    NotCalibrated { model: String },
    #[error(
        "the gallery has {gallery}-d embeddings, the model {model} makes {expected}-d ones; enrol it anew"
    )]
    GalleryMismatch {
        gallery: usize,
        model: String,
        expected: usize,
    },
}

impl BundleDescription {
    /// Reads `bundle.json` in the folder and checks its numbers.
    pub fn load(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join(BUNDLE_FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| LoadError::Read {
            path: path.clone(),
            source,
        })?;
        let invalid = |reason: String| LoadError::Invalid {
            path: path.clone(),
            reason,
        };
        let description: Self =
            serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        if description.format != FORMAT {
            return Err(invalid(format!(
                "format {} is not known, only {FORMAT}; make the bundle anew",
                description.format
            )));
        }
        // Below 75 pixels the last of the network's maps is empty.
        if !(75..=1024).contains(&description.input_size) {
            return Err(invalid(format!(
                "input_size {} is not between 75 and 1024",
                description.input_size
            )));
        }
        if description.crop_margin >= description.input_size {
            return Err(invalid(
                "crop_margin must be smaller than input_size".to_owned(),
            ));
        }
        if description.embedding_size == 0
            || !description.threshold.is_finite()
            || description.threshold <= 0.0
        {
            return Err(invalid(
                "embedding_size and threshold must be positive".to_owned(),
            ));
        }
        Ok(description)
    }

    /// Writes `bundle.json` into the folder, beside it first.
    pub fn save(&self, folder: &Path) -> Result<(), LoadError> {
        let path = folder.join(BUNDLE_FILE);
        let text = serde_json::to_string_pretty(self).expect("a description is plain JSON");
        write_beside(&path, |file| writeln!(file, "{text}"))
            .map_err(|source| LoadError::Write { path, source })
    }
}
