//! The functions' settings, which environment variables give.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use photo::DecodeLimits;
use video::{ClipLimits, Sampling};
use worker::model::bundle::Distance;
use worker::service::{EngineArgs, LinkedEngines, ModelArgs};
use worker::vision::{EngineName, Precision};

use crate::failure::Failure;

const INPUT: &str = "-input";
const STAGE: &str = "-stage-1";
const OUTPUT: &str = "-output";

/// What is made of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ClipMode {
    /// One frame, and the name of the person on it
    #[default]
    Frame,
    /// Frames spread over the clip, and a name for each
    Frames,
    /// All faces of many frames, and who appears from when to when
    Timeline,
}

/// Nothing is on a command line: Lambda passes none.
#[derive(Debug, Clone, Parser)]
pub struct FunctionSettings {
    #[arg(long, env = "MUSTER_CLIP_MODE", value_enum, default_value_t)]
    pub clip_mode: ClipMode,
    /// Frames of a clip in the mode `frames`
    #[arg(long, env = "MUSTER_CLIP_FRAMES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub clip_frames: u32,
    /// In the mode `timeline`
    #[arg(long, env = "MUSTER_FRAMES_PER_SECOND", default_value_t = 2.0)]
    pub frames_per_second: f64,
    /// In the mode `timeline`: a frame at each change of scene, too, from 0 (any change) to 1
    #[arg(long, env = "MUSTER_SCENE_THRESHOLD")]
    pub scene_threshold: Option<f64>,
    #[arg(long, env = "MUSTER_STAGE_BUCKET")]
    pub stage_bucket: Option<String>,
    #[arg(long, env = "MUSTER_OUTPUT_BUCKET")]
    pub output_bucket: Option<String>,
    #[arg(
        long,
        env = "MUSTER_RECOGNITION_FUNCTION",
        default_value = "face-recognition"
    )]
    pub recognition_function: String,
    /// URL of the queue for faces
    #[arg(long, env = "MUSTER_REQUEST_QUEUE")]
    pub request_queue: Option<String>,
    /// URL of the queue for names
    #[arg(long, env = "MUSTER_RESPONSE_QUEUE")]
    pub response_queue: Option<String>,
    /// Folder of the model bundle [default: `model` beside the program]
    #[arg(long, env = "MUSTER_MODELS")]
    pub models: Option<PathBuf>,
    /// File of the gallery [default: `gallery.safetensors` beside the program]
    #[arg(long, env = "MUSTER_GALLERY")]
    pub gallery: Option<PathBuf>,
    #[arg(long, env = "MUSTER_THRESHOLD", value_parser = Distance::parse_threshold)]
    pub threshold: Option<f32>,
    #[arg(long, env = "MUSTER_PRECISION", value_enum)]
    pub precision: Option<Precision>,
    #[command(flatten)]
    pub decode_limits: DecodeLimits,
    #[command(flatten)]
    pub clip_limits: ClipLimits,
}

impl FunctionSettings {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a variable has a value that cannot be used.
    pub fn from_environment() -> Result<Self, Failure> {
        Self::try_parse_from(["bootstrap"]).map_err(|error| Failure::Settings(error.to_string()))
    }

    pub fn sampling(&self) -> Sampling {
        match self.clip_mode {
            ClipMode::Frame => Sampling::First,
            ClipMode::Frames => Sampling::Spread {
                frames: self.clip_frames,
            },
            ClipMode::Timeline => Sampling::Timeline {
                frames_per_second: self.frames_per_second,
                scene_threshold: self.scene_threshold,
            },
        }
    }

    /// The bucket for frames of clips in this one.
    ///
    /// # Errors
    /// When it is not set, and the name of the other bucket does not end as it should.
    pub fn stage_bucket(&self, input: &str) -> Result<String, Failure> {
        let stage = self.stage_bucket.clone();
        stage
            .or_else(|| replaced(input, INPUT, STAGE))
            .ok_or_else(|| unset("MUSTER_STAGE_BUCKET", input, INPUT))
    }

    /// The bucket for results of frames or clips in this one.
    ///
    /// # Errors
    /// As [`Self::stage_bucket`].
    pub fn output_bucket(&self, bucket: &str) -> Result<String, Failure> {
        let output = self.output_bucket.clone();
        output
            .or_else(|| replaced(bucket, STAGE, OUTPUT))
            .or_else(|| replaced(bucket, INPUT, OUTPUT))
            .ok_or_else(|| unset("MUSTER_OUTPUT_BUCKET", bucket, STAGE))
    }

    /// Returns which model and gallery are loaded, by libtorch where the program is linked to it.
    pub fn model(&self, linked: LinkedEngines) -> ModelArgs {
        let program = std::env::current_exe().unwrap_or_default();
        let beside = |name: &str| program.parent().unwrap_or(Path::new(".")).join(name);
        let models = self.models.clone();
        let gallery = self.gallery.clone();
        ModelArgs {
            models: models.unwrap_or_else(|| beside("model")),
            gallery: gallery.unwrap_or_else(|| beside("gallery.safetensors")),
            threshold: self.threshold,
            engine: EngineArgs {
                engine: match linked.torch {
                    Some(_) => EngineName::Torch,
                    None => EngineName::Native,
                },
                precision: self.precision,
                detector: EngineName::Native,
                device: None,
                limits: self.decode_limits,
            },
        }
    }
}

fn replaced(bucket: &str, end: &str, by: &str) -> Option<String> {
    let prefix = bucket.strip_suffix(end)?;
    Some(format!("{prefix}{by}"))
}

fn unset(variable: &str, bucket: &str, end: &str) -> Failure {
    Failure::Settings(format!(
        "set {variable}: the name of the bucket {bucket} does not end with {end}, so that the other bucket is not known"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_prefix() {
        let settings = FunctionSettings::try_parse_from(["test"]).unwrap();
        assert_eq!(settings.stage_bucket("p-input").unwrap(), "p-stage-1");
        assert_eq!(settings.output_bucket("p-input").unwrap(), "p-output");
        assert_eq!(settings.output_bucket("p-stage-1").unwrap(), "p-output");
        let error = settings.stage_bucket("clips").unwrap_err().to_string();
        assert!(error.contains("MUSTER_STAGE_BUCKET"), "{error}");
        let set = FunctionSettings::try_parse_from(["test", "--output-bucket", "names"]).unwrap();
        assert_eq!(set.output_bucket("clips").unwrap(), "names");
    }

    #[test]
    fn a_threshold_out_of_range_is_refused() {
        for text in ["nan", "-1", "0", "3"] {
            let threshold = format!("--threshold={text}");
            let error = FunctionSettings::try_parse_from(["test", &threshold]).unwrap_err();
            assert!(error.to_string().contains("at most 2"), "{error}");
        }
        let settings = FunctionSettings::try_parse_from(["test", "--threshold=1.09"]).unwrap();
        assert_eq!(settings.threshold, Some(1.09));
    }
}
