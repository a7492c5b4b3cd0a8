//! Which model, gallery and engine a command uses.

use std::path::{Path, PathBuf};

use anyhow::Context;
use photo::DecodeLimits;

use crate::model::bundle::Distance;
use crate::vision::engine::native::NativeEngine;
use crate::vision::{Engine, EngineName, EngineOptions, Engines, Gallery, Precision, Recognizer};

/// The model bundle and the gallery.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Folder of the model bundle
    #[arg(
        long,
        env = "MUSTER_MODELS",
        default_value = ".local/models/facenet128",
        value_name = "DIR"
    )]
    pub models: PathBuf,
    /// File of the gallery that `worker enrol` made
    #[arg(
        long,
        env = "MUSTER_GALLERY",
        default_value = ".local/gallery.safetensors",
        value_name = "FILE"
    )]
    pub gallery: PathBuf,
    /// Distance beyond which a face is unknown, 0 to 2 [default: the bundle's own]
    #[arg(
        long,
        env = "MUSTER_THRESHOLD",
        value_parser = Distance::parse_threshold,
        value_name = "DISTANCE"
    )]
    pub threshold: Option<f32>,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// The engine that runs the networks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Engine", after_help = platform::duration::HELP)]
pub struct EngineArgs {
    /// Engine of the embedder; `worker engines` compares them
    #[arg(long, env = "MUSTER_ENGINE", value_enum, default_value_t)]
    pub engine: EngineName,
    /// Numbers that the embedder computes with [default: the fastest that bundle, engine and processor have]
    #[arg(long, env = "MUSTER_PRECISION", value_enum)]
    pub precision: Option<Precision>,
    /// Engine of the face detector's small networks. On a processor the native engine is several times as fast
    #[arg(
        long,
        env = "MUSTER_DETECTOR",
        value_enum,
        default_value = "native",
        value_name = "ENGINE"
    )]
    pub detector: EngineName,
    /// Where libtorch computes: cpu, cuda or cuda:N [default: CUDA where libtorch and the machine have it]
    #[arg(long, env = "MUSTER_DEVICE")]
    pub device: Option<String>,
    #[command(flatten)]
    pub limits: DecodeLimits,
}

/// The engines of this program: the native one, and libtorch where the program is linked to it.
#[derive(Debug, Clone, Copy)]
pub struct LinkedEngines {
    pub torch: Option<&'static dyn Engine>,
}

impl LinkedEngines {
    pub const NATIVE_ONLY: Self = Self { torch: None };

    fn get(self, name: EngineName) -> anyhow::Result<&'static dyn Engine> {
        match name {
            EngineName::Native => Ok(&NativeEngine),
            EngineName::Torch => self
                .torch
                .context("this program is not linked to libtorch: use --engine native"),
        }
    }
}

impl ModelArgs {
    /// Loads the bundle and the gallery.
    ///
    /// # Errors
    /// When the bundle or the gallery cannot be loaded, or do not belong together.
    pub fn load(&self, linked: LinkedEngines) -> anyhow::Result<Recognizer> {
        let gallery = Gallery::load(&self.gallery).with_context(|| {
            format!(
                "cannot load the gallery {}: make one with `worker enrol`",
                self.gallery.display()
            )
        })?;
        self.load_with_gallery(linked, gallery)
    }

    /// Loads the bundle with this gallery.
    ///
    /// # Errors
    /// When the bundle cannot be loaded, or the gallery does not belong to it.
    pub fn load_with_gallery(
        &self,
        linked: LinkedEngines,
        gallery: Gallery,
    ) -> anyhow::Result<Recognizer> {
        let recognizer = self.engine.load(linked, &self.models, gallery)?;
        Ok(match self.threshold {
            Some(threshold) => recognizer.with_threshold(threshold),
            None => recognizer,
        })
    }
}

impl EngineArgs {
    /// Loads a bundle with this gallery.
    ///
    /// # Errors
    /// When the bundle cannot be loaded by the engine, or the gallery does not belong to it.
    pub fn load(
        &self,
        linked: LinkedEngines,
        bundle: &Path,
        gallery: Gallery,
    ) -> anyhow::Result<Recognizer> {
        anyhow::ensure!(
            self.detector == EngineName::Native || self.engine == EngineName::Torch,
            "--detector torch needs --engine torch"
        );
        let engines = Engines {
            detector: linked.get(self.detector)?,
            embedder: linked.get(self.engine)?,
        };
        let options = EngineOptions {
            precision: self.precision,
            device: self.device.clone(),
        };
        let recognizer = Recognizer::load(bundle, gallery, engines, &options)
            .with_context(|| format!("cannot load the model bundle {}", bundle.display()))?;
        Ok(recognizer.with_limits(self.limits))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        model: ModelArgs,
    }

    #[test]
    fn a_threshold_out_of_range_is_refused() {
        let parse = |text: &str| Cli::try_parse_from(["test", &format!("--threshold={text}")]);
        for text in ["nan", "-1", "0", "2.001", "3", "inf", "near"] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("more than 0 and at most 2"), "{error}");
        }
        for (text, expected) in [("0.3", 0.3), ("2", 2.0)] {
            let args = parse(text).expect("a distance");
            assert_eq!(args.model.threshold, Some(expected));
        }
    }
}
