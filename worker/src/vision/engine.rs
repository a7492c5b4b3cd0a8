//! Engines, which run the networks. Everything around the networks (decoding, the pyramid, suppression, cropping,
//! matching) is the same for every engine.

use std::fmt::{self, Debug, Display};

use clap::ValueEnum;

use super::detect::DetectionNetworks;
use super::embed::EmbeddingNetwork;
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

impl Display for EngineName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Torch => "torch",
            Self::Native => "native",
        })
    }
}
