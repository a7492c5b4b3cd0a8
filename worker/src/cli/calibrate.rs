//! `worker calibrate`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use platform::process::print;

use crate::enrol::photos_below;
use crate::model::bundle::Network;
use crate::prepare::calibrate::calibrate;
use crate::service::{EngineArgs, LinkedEngines};
use crate::vision::engine::native::NativeEngine;
use crate::vision::{Bundle, Engine, Gallery, Precision};

/// File of the weights for 8-bit integers in a bundle. The number changes with their layout or calibration.
const FILE: &str = "embedder.int8-1.safetensors";

#[derive(Debug, clap::Args)]
pub struct CalibrateArgs {
    /// Folder of the model bundle; its new weight file and its changed bundle.json are written there
    #[arg(
        long,
        env = "MUSTER_MODELS",
        default_value = ".local/models/facenet128",
        value_name = "DIR"
    )]
    models: PathBuf,
    /// Folder with 50 or more photos of faces like those to recognize; its folders are searched too
    #[arg(long, value_name = "DIR")]
    photos: PathBuf,
    /// Calibrate again if the bundle is calibrated already
    #[arg(long)]
    force: bool,
    /// Write the weights even if this machine's processor gains nothing from them
    #[arg(long)]
    for_other_machines: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

pub fn run(args: &CalibrateArgs, linked: LinkedEngines) -> anyhow::Result<ExitCode> {
    let bundle = Bundle::open(&args.models)?;
    anyhow::ensure!(
        bundle.description.network == Network::InceptionResnetV1,
        "{} has a TorchScript network, which runs as it was exported: only the built-in network can be calibrated",
        args.models.display()
    );
    let (name, file) = (PathBuf::from(FILE), args.models.join(FILE));
    if !args.force && bundle.description.embedder_int8.as_ref() == Some(&name) && file.is_file() {
        print(format_args!("{}: already calibrated", file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let gains = |engine: &dyn Engine| engine.gains_from_int8();
    if !args.for_other_machines && !gains(&NativeEngine) && !linked.torch.is_some_and(gains) {
        print(format_args!(
            "not calibrated: on this processor, which multiplies bytes slowly, 8-bit integers are hardly faster than \
             float32 (--for-other-machines calibrates all the same)"
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let engine = EngineArgs {
        precision: Some(Precision::Fp32),
        ..args.engine.clone()
    };
    let recognizer = engine.load(linked, &args.models, Gallery::default())?;
    let mut crops = Vec::new();
    for path in photos_below(&args.photos)? {
        let encoded =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        match recognizer.crop_photo(&encoded) {
            Ok(crop) => crops.push(crop),
            Err(error) => tracing::warn!(photo = %path.display(), %error, "photo left out"),
        }
    }
    anyhow::ensure!(
        !crops.is_empty(),
        "no face was found on any photo below {}",
        args.photos.display()
    );
    calibrate(&bundle, recognizer.embedder(), &crops, &file)?;
    let mut description = bundle.description;
    description.embedder_int8 = Some(name);
    description.save(&args.models)?;
    print(format_args!(
        "{}: calibrated on {} photos",
        file.display(),
        crops.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}
