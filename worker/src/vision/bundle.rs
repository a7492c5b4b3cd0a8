//! A model bundle: a folder with `bundle.json`, which says what the weights want, and the weight files it names.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::weights::WeightsError;

/// The file that makes a folder a bundle.
pub const BUNDLE_FILE: &str = "bundle.json";

/// `bundle.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleDescription {
    /// Version of this very format: 1.
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
    #[error("{path}: {reason}")]
    Invalid { path: PathBuf, reason: String },
    #[error(transparent)]
    Weights(#[from] WeightsError),
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
        if description.format != 1 {
            return Err(invalid(format!(
                "format {} is not known, only 1",
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
}
