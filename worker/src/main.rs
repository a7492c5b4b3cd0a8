use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use platform::aws::Aws;
use platform::telemetry::{self, TelemetryArgs};
use proto::FileName;
use worker::service::{self, ModelArgs, ServeArgs, load_bundle};
use worker::vision::{Gallery, Recognised, Recogniser, enrol};

mod cli;

/// Recognises faces: as a worker of the fleet, or offline.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes jobs from the request queue until it is stopped
    Serve(ServeArgs),
    /// Names the face on each photo, one line a photo
    Recognize {
        /// Photos to name
        #[arg(required = true, value_name = "PHOTO")]
        photos: Vec<PathBuf>,
        #[command(flatten)]
        model: ModelArgs,
    },
    /// Makes a model's weights for 8-bit integers, which are several times as fast, from its own
    Calibrate(cli::calibrate::CalibrateArgs),
    /// Makes a gallery from photos
    Enrol {
        /// Folder that holds one folder of photos for each person, named after the person
        #[arg(long, value_name = "DIR")]
        photos: PathBuf,
        /// Where the gallery is written
        #[arg(
            long,
            env = "MUSTER_GALLERY",
            default_value = ".local/gallery.safetensors",
            value_name = "FILE"
        )]
        gallery: PathBuf,
        /// Folder of the model bundle
        #[arg(
            long,
            env = "MUSTER_MODELS",
            default_value = ".local/models/facenet128",
            value_name = "DIR"
        )]
        models: PathBuf,
    },
    /// Measures on photos of known people how well the model tells them apart
    Evaluate(cli::evaluate::EvaluateArgs),
    /// Measures how long the worker takes to be ready, to answer first and to answer next, and its memory
    Ready(cli::ready::ReadyArgs),
    /// Makes a model bundle or a gallery of files that PyTorch wrote
    Convert(cli::convert::ConvertArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match telemetry::init(&cli.telemetry).and_then(|()| dispatch(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve(args),
        Command::Recognize { model, photos } => recognize(&model.load()?, &photos),
        Command::Calibrate(args) => cli::calibrate::run(&args),
        Command::Enrol {
            photos,
            gallery,
            models,
        } => enrol_photos(&photos, &gallery, &models),
        Command::Evaluate(args) => cli::evaluate::run(&args),
        Command::Ready(args) => cli::ready::run(&args),
        Command::Convert(args) => cli::convert::run(args),
    }
}

fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    // One thread moves the bytes; the inference threads do the work. Blocking ones load the model and look up host names.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(4)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = platform::shutdown::on_signal()?;
        let aws = Aws::connect(&args.aws).await;
        service::run(args, aws, shutdown).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn recognize(recogniser: &Recogniser, photos: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for path in photos {
        match recognize_file(recogniser, path) {
            Ok(recognised) => println!("{}", line(path, &recognised)),
            Err(error) => {
                eprintln!("{}: {error:#}", path.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn recognize_file(recogniser: &Recogniser, path: &Path) -> anyhow::Result<Recognised> {
    let photo = std::fs::read(path).context("cannot be read")?;
    Ok(recogniser.recognise(&photo)?)
}

/// The answer as the service gives it, and what it rests on.
fn line(path: &Path, recognised: &Recognised) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem =
        FileName::parse(&name).map_or_else(|_| name.to_string(), |name| name.stem().to_owned());
    let timings = &recognised.timings;
    let elapsed = timings.decode + timings.detect + timings.embed + timings.matching;
    format!(
        "{stem}:{}  distance {:.3}  face {:.3}  {:.0} ms",
        recognised.name,
        recognised.distance,
        recognised.face_probability,
        elapsed.as_secs_f64() * 1000.0
    )
}

fn enrol_photos(photos: &Path, file: &Path, models: &Path) -> anyhow::Result<ExitCode> {
    let recogniser = load_bundle(models, Gallery::default(), None)?;
    let (gallery, skipped) = enrol(photos, &recogniser)?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    gallery
        .save(file)
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!(
        "{}: {} photos enrolled, {} left out",
        file.display(),
        gallery.len(),
        skipped.len()
    );
    Ok(ExitCode::SUCCESS)
}
