//! The command line.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use platform::aws::Aws;
use platform::process::print;
use platform::telemetry::{self, TelemetryArgs};
use proto::FileName;

use crate::enrol::enrol;
use crate::service::{self, EngineArgs, LinkedEngines, ModelArgs, ServeArgs};
use crate::vision::{EngineName, Gallery, Recognized, Recognizer};

mod calibrate;
mod convert;
mod engines;
mod evaluate;
mod launch;
mod ready;
mod video;

/// Recognizes faces: as a worker of the fleet, or offline.
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
    /// Take jobs from the request queue until it is stopped
    Serve(ServeArgs),
    /// Name the face on each photo, one photo a line
    Recognize {
        /// Photos to name
        #[arg(required = true, value_name = "PHOTO")]
        photos: Vec<PathBuf>,
        #[command(flatten)]
        model: ModelArgs,
    },
    /// Find out who is seen in a clip from when to when
    Video(video::VideoArgs),
    /// Add weights for 8-bit integers, which are several times as fast, to a model bundle
    Calibrate(calibrate::CalibrateArgs),
    /// Make a gallery from photos
    Enrol {
        /// Folder with one folder of photos for each person, named after the person; its subfolders are searched too
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
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Show what this machine can run, with the time for a photo, the start-up time and the memory of each
    Engines(engines::EnginesArgs),
    /// Measure on photos of known people how well the model tells them apart
    Evaluate(evaluate::EvaluateArgs),
    /// Measure the time until the worker is ready and for the first and later photos, and its memory
    Ready(ready::ReadyArgs),
    /// Make a model bundle or a gallery from files of Keras or PyTorch
    Convert(convert::ConvertArgs),
}

impl Command {
    /// Returns the engine that the command needs.
    fn engine(&self) -> EngineName {
        match self {
            Self::Serve(args) => args.model.engine.engine,
            Self::Recognize { model, .. } => model.engine.engine,
            Self::Video(args) => args.model.engine.engine,
            Self::Calibrate(args) => args.engine.engine,
            Self::Enrol { engine, .. } => engine.engine,
            Self::Evaluate(args) => args.model.engine.engine,
            Self::Ready(args) => args.model.engine.engine,
            Self::Convert(args) => args.engine(),
            // It starts a process for each engine.
            Self::Engines(_) => EngineName::Native,
        }
    }
}

/// Runs the program. If it is not linked to the engine that the command needs, `worker-torch` replaces it.
pub fn main(linked: LinkedEngines) -> ExitCode {
    let cli = Cli::parse();
    let run = || {
        if cli.command.engine() == EngineName::Torch && linked.torch.is_none() {
            return Err(launch::become_torch());
        }
        let _telemetry = telemetry::init("worker", &cli.telemetry)?;
        dispatch(cli.command, linked)
    };
    run().unwrap_or_else(|error| {
        eprintln!("worker: {error:#}");
        ExitCode::FAILURE
    })
}

fn dispatch(command: Command, linked: LinkedEngines) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve(args, linked),
        Command::Recognize { model, photos } => recognize(&model.load(linked)?, &photos),
        Command::Video(args) => video::run(&args, linked),
        Command::Calibrate(args) => calibrate::run(&args, linked),
        Command::Enrol {
            photos,
            gallery,
            models,
            engine,
        } => {
            let recognizer = engine.load(linked, &models, Gallery::default())?;
            enrol_photos(&photos, &gallery, &recognizer)
        }
        Command::Engines(args) => engines::run(&args),
        Command::Evaluate(args) => evaluate::run(&args, linked),
        Command::Ready(args) => ready::run(&args, linked),
        Command::Convert(args) => convert::run(args, linked),
    }
}

fn serve(args: ServeArgs, linked: LinkedEngines) -> anyhow::Result<ExitCode> {
    // One thread does all I/O, and the inference threads the work. Blocking threads load the model and resolve names.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(4)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = platform::shutdown::on_signal()?;
        let aws = Aws::connect(&args.aws).await;
        service::run(args, linked, aws, shutdown).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn recognize(recognizer: &Recognizer, photos: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut output = std::io::stdout();
    for path in photos {
        match recognize_file(recognizer, path) {
            Ok(recognized) => match writeln!(output, "{}", line(path, &recognized)) {
                Ok(()) => {}
                // The reader has seen enough, as `head` does.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(code),
                Err(error) => {
                    eprintln!("worker: cannot write to standard output: {error}");
                    return Ok(ExitCode::from(2));
                }
            },
            Err(error) => {
                eprintln!("{}: {error:#}", path.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn recognize_file(recognizer: &Recognizer, path: &Path) -> anyhow::Result<Recognized> {
    let photo = std::fs::read(path).context("cannot be read")?;
    Ok(recognizer.recognize(&photo)?)
}

/// Returns the result as the service replies it, then distance, probability, time and the nearest identities.
fn line(path: &Path, recognized: &Recognized) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem =
        FileName::parse(&name).map_or_else(|_| name.to_string(), |name| name.stem().to_owned());
    let timings = &recognized.timings;
    let elapsed = timings.decode + timings.detect + timings.embed + timings.matching;
    let nearest = recognized.candidates.iter();
    let nearest: Vec<_> = nearest
        .map(|candidate| format!("{} {:.3}", candidate.name, candidate.distance))
        .collect();
    format!(
        "{stem}:{}  distance {:.3}  face {:.3}  {:.0} ms  nearest {}  threshold {:.3}",
        recognized.name,
        recognized.distance,
        recognized.face_probability,
        elapsed.as_secs_f64() * 1000.0,
        nearest.join(", "),
        recognized.threshold,
    )
}

fn enrol_photos(photos: &Path, file: &Path, recognizer: &Recognizer) -> anyhow::Result<ExitCode> {
    let (gallery, skipped) = enrol(photos, recognizer)?;
    save_gallery(&gallery, file)?;
    print(format_args!(
        "{}: {} photos enrolled, {} left out",
        file.display(),
        gallery.len(),
        skipped.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a gallery, and makes the folder for its file.
fn save_gallery(gallery: &Gallery, file: &Path) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    gallery
        .save(file)
        .with_context(|| format!("cannot write {}", file.display()))
}
