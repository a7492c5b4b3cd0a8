//! `make chaos` runs the stack under load and faults, and accounts for each request; `make soak` runs it for long.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chaos::load::Photos;
use chaos::run::{Choices, Engine, RunOptions, real_photos, run};
use chaos::soak::{SoakOptions, soak};
use chaos::stack::{StackOptions, WorkerProgram};
use clap::Parser;
use platform::duration;

/// Puts the whole of Muster under load and faults on this machine, and accounts for each request. Exit status 0 only if nothing
/// is lost, wrong or answered twice, and the scaler stopped no busy worker
#[derive(Debug, Parser)]
#[command(after_help = duration::HELP)]
struct Args {
    #[command(flatten)]
    choices: Choices,
    /// Does the run of this history again: history.json, or the history-SEED.json of a run that failed. With an engine's run
    /// give its gallery, models and photos, too
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["requests", "rate", "seed", "every", "only", "max_workers", "light_time", "soak"]
    )]
    replay: Option<PathBuf>,
    /// Folder of the programs
    #[arg(long, env = "MUSTER_BIN")]
    bin: PathBuf,
    /// The repository
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Folder of the model bundle
    #[arg(
        long,
        env = "MUSTER_MODELS",
        default_value = ".local/models/facenet128"
    )]
    models: PathBuf,
    /// Gallery for the engines; a copy of it is used
    #[arg(
        long,
        env = "MUSTER_GALLERY",
        default_value = ".local/gallery.safetensors"
    )]
    gallery: PathBuf,
    /// Photos for the engines: a folder with a folder for each person
    #[arg(long, default_value = ".local/photos/val")]
    photos: PathBuf,
    /// No faults: steady load for this time, while memory, descriptors, threads, queues and disk are sampled
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    soak: Option<Duration>,
    /// Folder for the report and the logs [default: target/chaos, or target/soak]
    #[arg(long)]
    output: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match chaos().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn chaos() -> anyhow::Result<bool> {
    let args = Args::parse();
    let choices = match &args.replay {
        Some(history) => Choices::of_history(history)?,
        None => args.choices,
    };
    let root = args.root.canonicalize()?;
    let usual = if args.soak.is_some() {
        "target/soak"
    } else {
        "target/chaos"
    };
    let output = args.output.unwrap_or_else(|| usual.into());
    std::fs::create_dir_all(&output)?;
    let output = output.canonicalize()?;
    let bin = args.bin.canonicalize()?;
    let worker = match choices.engine {
        Engine::Light => WorkerProgram::Light(choices.light_time),
        Engine::Native | Engine::Torch => {
            let gallery = output.join("gallery.safetensors");
            std::fs::copy(&args.gallery, &gallery)?;
            WorkerProgram::Real {
                engine: choices.engine.name().to_owned(),
                models: args.models.canonicalize()?,
                gallery,
            }
        }
    };
    let photos = match choices.engine {
        Engine::Light => Photos::Light { seed: choices.seed },
        Engine::Native | Engine::Torch => real_photos(&bin, &args.photos, &worker)?,
    };
    let stack = StackOptions {
        bin,
        root,
        folder: output.join("stack"),
        worker,
        max_workers: choices.max_workers,
        policy: if choices.seed & 2 == 0 {
            "step"
        } else {
            "latency"
        }
        .to_owned(),
        // Workers that come and go meet more faults.
        keep_idle: "0s",
        spot: choices.seed & 1 == 1,
    };
    if let Some(length) = args.soak {
        let options = SoakOptions {
            stack: StackOptions {
                policy: "latency".to_owned(),
                keep_idle: "auto",
                spot: false,
                ..stack
            },
            engine: choices.engine.name().to_owned(),
            photos,
            rate: choices.rate,
            length,
            output: output.clone(),
        };
        let report = soak(&options).await?;
        report.print(&output)?;
        return Ok(report.passed);
    }
    let options = RunOptions {
        stack,
        photos,
        choices,
        output: output.clone(),
    };
    let report = run(&options).await?;
    report.print(&output)?;
    Ok(report.passed)
}
