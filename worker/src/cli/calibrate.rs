use std::path::PathBuf;
use std::process::ExitCode;

use worker::vision::embed::calibrate::calibrate;
use worker::vision::enrol::photos_below;
use worker::vision::{Engine, Gallery, Recogniser};

/// Where the weights for 8-bit integers lie in a bundle. The number changes when they are made or laid out otherwise.
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
    /// Photos with faces like those to come, 50 or more; folders are searched
    #[arg(long, value_name = "DIR")]
    photos: PathBuf,
    /// Calibrates anew what is calibrated already
    #[arg(long)]
    force: bool,
}

pub fn run(args: &CalibrateArgs) -> anyhow::Result<ExitCode> {
    let recogniser = Recogniser::load_with(&args.models, Gallery::default(), Engine::Fp32)?;
    let mut description = recogniser.description().clone();
    let (name, file) = (PathBuf::from(FILE), args.models.join(FILE));
    if !args.force && description.embedder_int8.as_ref() == Some(&name) && file.is_file() {
        println!("{}: already calibrated", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut crops = Vec::new();
    for path in photos_below(&args.photos)? {
        match recogniser.crop_photo(&std::fs::read(&path)?) {
            Ok(crop) => crops.push(crop),
            Err(error) => tracing::warn!(photo = %path.display(), %error, "photo left out"),
        }
    }
    anyhow::ensure!(
        !crops.is_empty(),
        "no face was found on any photo below {}",
        args.photos.display()
    );
    calibrate(&args.models, &description, &crops, &file)?;
    description.embedder_int8 = Some(name);
    description.save(&args.models)?;
    println!("{}: calibrated on {} photos", file.display(), crops.len());
    Ok(ExitCode::SUCCESS)
}
