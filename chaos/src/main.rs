//! `make chaos` runs the stack under load and faults, and accounts for each request; `make soak` runs it for long.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chaos::load::Photos;
use chaos::run::{RunOptions, real_photos, run};
use chaos::soak::{SoakOptions, soak};
use chaos::stack::{StackOptions, WorkerProgram};
use clap::{Parser, ValueEnum};
use platform::duration;

/// Puts the whole of Muster under load and faults on this machine, and accounts for each request. Exit status 0 only if nothing
/// is lost, wrong or answered twice, and the scaler stopped no busy worker
#[derive(Debug, Parser)]
#[command(after_help = duration::HELP)]
struct Args {
    /// What recognizes: a light recognizer without networks, or one of the engines
    #[arg(long, value_enum, default_value = "light")]
    engine: Engine,
    /// Requests to send
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    /// Requests a second, on average
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Seed of all faults, times and photos: the same seed has the same ones. It also chooses policy and market
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Mean time between two faults
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    every: Duration,
    /// No other faults than those of this name, for example kill_worker or terminate. With kill_front, kill_gateway and
    /// kill_scaler give --every 20s: a service that ends five times within 30 s ends the others
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    only: Option<String>,
    /// Most workers at once
    #[arg(long, default_value_t = 8)]
    max_workers: u32,
    /// Time of a photo with the light recognizer
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "20ms")]
    light_time: Duration,
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

fn fault(name: &str) -> Result<String, String> {
    let names = chaos::schedule::names(true, true);
    if names.contains(name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = names.into_iter().collect();
    Err(format!("it is none of {}", names.join(", ")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Light,
    Native,
    Torch,
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
    let name = match args.engine {
        Engine::Light => "light",
        Engine::Native => "native",
        Engine::Torch => "torch",
    };
    let worker = match args.engine {
        Engine::Light => WorkerProgram::Light(args.light_time),
        Engine::Native | Engine::Torch => {
            let gallery = output.join("gallery.safetensors");
            std::fs::copy(&args.gallery, &gallery)?;
            WorkerProgram::Real {
                engine: name.to_owned(),
                models: args.models.canonicalize()?,
                gallery,
            }
        }
    };
    let photos = match args.engine {
        Engine::Light => Photos::Light { seed: args.seed },
        Engine::Native | Engine::Torch => real_photos(&bin, &args.photos, &worker)?,
    };
    let stack = StackOptions {
        bin,
        root,
        folder: output.join("stack"),
        worker,
        max_workers: args.max_workers,
        policy: if args.seed & 2 == 0 {
            "step"
        } else {
            "latency"
        }
        .to_owned(),
        // Workers that come and go meet more faults.
        keep_idle: "0s",
        spot: args.seed & 1 == 1,
    };
    if let Some(length) = args.soak {
        let options = SoakOptions {
            stack: StackOptions {
                policy: "latency".to_owned(),
                keep_idle: "auto",
                spot: false,
                ..stack
            },
            engine: name.to_owned(),
            photos,
            rate: args.rate,
            length,
            output: output.clone(),
        };
        let report = soak(&options).await?;
        report.print(&output)?;
        return Ok(report.passed);
    }
    let options = RunOptions {
        stack,
        engine: name.to_owned(),
        photos,
        seed: args.seed,
        requests: args.requests,
        rate: args.rate,
        every: args.every,
        only: args.only,
        output: output.clone(),
    };
    let report = run(&options).await?;
    report.print(&output)?;
    Ok(report.passed)
}
