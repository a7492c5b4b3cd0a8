//! A model bundle: a folder with `bundle.json`, which describes the networks, and the weight files that it names.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::weights::{WeightFile, WeightsError, write_beside};

/// The file that makes a folder a bundle.
pub const BUNDLE_FILE: &str = "bundle.json";

/// The version of the format that is read and written.
pub const FORMAT: u32 = 2;

/// A bundle's folder and what its `bundle.json` says.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub folder: PathBuf,
    pub description: BundleDescription,
}

/// `bundle.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleDescription {
    /// Version of the format, [`FORMAT`]. Kernels lie in panels, see [`crate::kernels::panels`].
    pub format: u32,
    /// Part of each result.
    pub name: String,
    /// Numbers in an embedding.
    pub embedding_size: usize,
    /// Side of the square face crop, in pixels.
    pub input_size: usize,
    pub preprocessing: Preprocessing,
    /// Pixels of the crop around the face's box, both sides together.
    pub crop_margin: usize,
    /// Distance beyond which a face is unknown, measured as `distance` says.
    pub threshold: f32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub distance: Distance,
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Network,
    /// The embedder's weights, or its TorchScript file.
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

/// The embedder's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Inception-ResNet v1, whose weights every engine reads.
    #[default]
    InceptionResnetV1,
    /// Any network that PyTorch exported: [N, 3, side, side] in, [N, embedding size] out. Only libtorch runs it.
    Torchscript,
}

/// Numbers that the embedder computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Precision {
    /// 32-bit floating point
    Fp32,
    /// 8-bit integers, several times as fast on processors with instructions for them
    Int8,
}

/// How far two unit vectors are apart; 0 to 2 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// The length of their difference
    #[default]
    Euclidean,
    /// One minus the cosine of the angle between them
    Cosine,
}

/// How a crop's bytes become the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preprocessing {
    /// (value - 127.5) / 128.
    Fixed,
    /// (value - mean) / deviation, over all pixels and channels of the crop.
    PerImageStandardised,
    /// (value - mean) / deviation, with numbers for red, green and blue. For TorchScript only.
    Channels { mean: [f32; 3], deviation: [f32; 3] },
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
    #[error("the model {model} is not calibrated for int8: run `worker calibrate`")]
    NotCalibrated { model: String },
    #[error(
        "{file} is missing: the model {model} is here with weights for 8-bit integers alone, which \
         --precision or libtorch on this processor rules out; get its fp32 weights, too (containers: build with WEIGHTS=all)"
    )]
    OnlyInt8 { model: String, file: PathBuf },
    /// What the engine cannot do, and what to do instead.
    #[error("{0}")]
    Engine(String),
    #[error(
        "the gallery has {gallery}-d embeddings, the model {model} makes {expected}-d ones: run `worker enrol` again"
    )]
    GalleryMismatch {
        gallery: usize,
        model: String,
        expected: usize,
    },
}

impl Bundle {
    /// Reads `bundle.json` in the folder and checks its numbers.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        Ok(Self {
            folder: folder.to_owned(),
            description: BundleDescription::load(folder)?,
        })
    }

    /// Opens one of the weight files.
    ///
    /// # Errors
    /// When it cannot be read or is not a safetensors file.
    pub fn weights(&self, file: &Path) -> Result<WeightFile, WeightsError> {
        WeightFile::open(&self.folder.join(file))
    }

    /// Opens the built-in embedder's weights in either precision.
    ///
    /// # Errors
    /// When they cannot be read, or the bundle was not calibrated for int8.
    pub fn embedder_weights(&self, precision: Precision) -> Result<WeightFile, LoadError> {
        let description = &self.description;
        let file = match (precision, &description.embedder_int8) {
            (Precision::Fp32, Some(_)) if self.has_only_int8() => {
                return Err(LoadError::OnlyInt8 {
                    model: description.name.clone(),
                    file: self.folder.join(&description.embedder),
                });
            }
            (Precision::Fp32, _) => &description.embedder,
            (Precision::Int8, Some(file)) => file,
            (Precision::Int8, None) => {
                return Err(LoadError::NotCalibrated {
                    model: description.name.clone(),
                });
            }
        };
        Ok(self.weights(file)?)
    }

    /// Returns whether the embedder's weights are here for 8-bit integers alone, as in small packages.
    pub fn has_only_int8(&self) -> bool {
        let exists = |file: &PathBuf| self.folder.join(file).exists();
        let BundleDescription {
            embedder,
            embedder_int8,
            ..
        } = &self.description;
        embedder_int8.as_ref().is_some_and(exists) && !exists(embedder)
    }
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
                "format {} is not known, only {FORMAT}: make the bundle again with `worker convert`",
                description.format
            )));
        }
        // Below 75 pixels the last of Inception-ResNet v1's maps is empty.
        let smallest = match description.network {
            Network::InceptionResnetV1 => 75,
            Network::Torchscript => 8,
        };
        if !(smallest..=1024).contains(&description.input_size) {
            return Err(invalid(format!(
                "input_size {} is not between {smallest} and 1024",
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
        let is_built_in = description.network == Network::InceptionResnetV1;
        if let Preprocessing::Channels { deviation, .. } = description.preprocessing
            && (is_built_in || deviation.iter().any(|deviation| *deviation <= 0.0))
        {
            return Err(invalid(
                "preprocessing by channels is for TorchScript networks, with deviations above 0"
                    .to_owned(),
            ));
        }
        Ok(description)
    }

    /// Writes `bundle.json` into the folder, as [`write_beside`] does.
    pub fn save(&self, folder: &Path) -> Result<(), LoadError> {
        let path = folder.join(BUNDLE_FILE);
        let text = serde_json::to_string_pretty(self).expect("a description is plain JSON");
        write_beside(&path, |file| writeln!(file, "{text}"))
            .map_err(|source| LoadError::Write { path, source })
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
        })
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Euclidean => "euclidean",
            Self::Cosine => "cosine",
        })
    }
}

impl Distance {
    /// Parses a threshold of either distance, for the command line.
    ///
    /// # Errors
    /// When it is not a number above 0 and up to 2.
    pub fn parse_threshold(text: &str) -> Result<f32, String> {
        match text.parse() {
            Ok(distance) if distance > 0.0 && distance <= 2.0 => Ok(distance),
            _ => Err("not a distance between unit vectors, more than 0 and at most 2".to_owned()),
        }
    }

    /// Returns this distance between two unit vectors from the Euclidean one.
    pub fn of_euclidean(self, euclidean: f32) -> f32 {
        match self {
            Self::Euclidean => euclidean,
            Self::Cosine => euclidean * euclidean / 2.0,
        }
    }
}
