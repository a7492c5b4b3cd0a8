//! Engines, which run the networks. Everything around the networks (decoding, the pyramid, suppression, cropping,
//! matching) is the same for every engine.

use std::fmt::{self, Debug, Display};

use clap::ValueEnum;
use photo::Photo;

use super::detect::networks::Prediction;
use super::detect::proposal::Proposal;
use super::embed::Input;
use crate::model::bundle::{Bundle, LoadError, Precision};

pub mod native;

/// The engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum EngineName {
    /// libtorch, which also runs networks of other architectures (TorchScript) and on GPUs
    #[default]
    Torch,
    /// Muster's own loops, which start in milliseconds and need no libtorch
    Native,
}

/// Options for loading networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Absent: the fastest that the bundle, the engine and the processor have.
    pub precision: Option<Precision>,
    /// `cpu`, `cuda` or `cuda:<number>`. Absent: CUDA where the engine and the machine have it.
    pub device: Option<String>,
}

/// Loads the networks of bundles.
pub trait Engine: Debug + Send + Sync {
    fn name(&self) -> EngineName;

    /// Returns whether the built-in embedder is faster in int8 than in fp32 on this machine.
    fn gains_from_int8(&self) -> bool;

    /// Loads the embedder.
    ///
    /// # Errors
    /// When the weights cannot be used, or the engine or the processor lacks an option.
    fn load_embedder(
        &self,
        bundle: &Bundle,
        options: &EngineOptions,
    ) -> Result<Box<dyn EmbeddingNetwork>, LoadError>;

    /// Loads the detector.
    ///
    /// # Errors
    /// When the weights cannot be used.
    fn load_detector(
        &self,
        bundle: &Bundle,
        options: &EngineOptions,
    ) -> Result<Box<dyn DetectionNetworks>, LoadError>;
}

/// The network that turns crops into embeddings. Threads may share it.
///
/// Methods panic when the engine fails, for instance without enough GPU memory. The process must end then.
pub trait EmbeddingNetwork: Debug + Send + Sync {
    fn precision(&self) -> Precision;

    /// The processor's instructions or the device that it computes with, for people.
    fn runs_on(&self) -> String;

    /// Returns the embeddings one after the other, not normalized.
    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32>;

    /// Runs the network once on a square of `side` pixels, so that memory and kernels are ready before the first photo.
    fn warm_up(&self, side: usize) {
        self.forward(&[Input {
            pixels: &vec![128; side * side * 3],
            mean: [127.5; 3],
            deviation: [128.0; 3],
        }]);
    }

    /// Returns the largest element of each value between the layers, in the order of `Architecture::values`, for the
    /// calibration to int8. `None` if the network is not the built-in one in float32.
    fn largest_values(&self, input: &Input<'_>) -> Option<Vec<f32>>;
}

/// MTCNN's three networks. Threads may share them.
///
/// Methods panic when the engine fails.
pub trait DetectionNetworks: Debug + Send + Sync {
    /// Runs P-Net on the photo resized to `[width, height]`, at least 12 x 12. Returns the windows, row by row, whose
    /// probability is at least `threshold`.
    fn propose(&self, photo: &Photo, size: [usize; 2], threshold: f32) -> Vec<Proposal>;

    /// Runs R-Net on `count` candidates. `write_crop(index, crop)` writes one of them, 24 x 24 pixels of red, green, blue.
    fn refine(&self, count: usize, write_crop: CropWriter<'_>) -> Vec<Prediction>;

    /// Runs O-Net on `count` candidates of 48 x 48 pixels.
    fn output(&self, count: usize, write_crop: CropWriter<'_>) -> Vec<Prediction>;
}

/// Writes the pixels of a candidate, from -1 to 1.
pub type CropWriter<'a> = &'a mut dyn FnMut(usize, &mut [f32]);

impl Display for EngineName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Torch => "torch",
            Self::Native => "native",
        })
    }
}
