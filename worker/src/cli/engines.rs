//! `worker engines`: measures each engine and precision on this machine.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use platform::process::print;
use serde::de::DeserializeOwned;

use super::ready::{PhotoTimes, Ready};
use crate::vision::{EngineName, Precision};

#[derive(Debug, clap::Args)]
pub struct EnginesArgs {
    /// Photo with a face, to be recognized [default: one of the sample photos]
    photo: Option<PathBuf>,
    /// Folder of the model bundle
    #[arg(
        long,
        env = "MUSTER_MODELS",
        default_value = ".local/models/facenet128",
        value_name = "DIR"
    )]
    models: PathBuf,
    /// Where libtorch computes: cpu, cuda or cuda:N [default: CUDA where libtorch and the machine have it]
    #[arg(long, env = "MUSTER_DEVICE")]
    device: Option<String>,
}

const SAMPLE_PHOTOS: &str = ".local/photos/val";

pub fn run(args: &EnginesArgs) -> anyhow::Result<ExitCode> {
    let photo = match &args.photo {
        Some(photo) => photo.clone(),
        None => sample_photo().with_context(|| {
            format!(
                "there are no sample photos in {SAMPLE_PHOTOS}: name a photo, or run scripts/setup"
            )
        })?,
    };
    print(format_args!(
        "{:<8}{:<11}{:<14}{:>10}{:>11}{:>13}{:>11}",
        "engine", "precision", "runs on", "photo ms", "start ms", "start cpu ms", "memory MB"
    ))?;
    for engine in [EngineName::Torch, EngineName::Native] {
        for precision in [Precision::Fp32, Precision::Int8] {
            let measured = measure(args, &photo, engine, precision);
            let row = measured.map_or_else(
                |error| format!("{error:#}"),
                |(ready, photos)| {
                    format!(
                        "{:<14}{:>10.1}{:>11.0}{:>13.0}{:>11.0}",
                        ready.runs_on,
                        photos.steady_median_ms,
                        ready.ready_ms,
                        ready.cpu_ms,
                        photos.rss_mb
                    )
                },
            );
            print(format_args!(
                "{:<8}{:<11}{row}",
                engine.to_string(),
                precision.to_string()
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `worker ready` in a process of its own.
fn measure(
    args: &EnginesArgs,
    photo: &Path,
    engine: EngineName,
    precision: Precision,
) -> anyhow::Result<(Ready, PhotoTimes)> {
    let mut command = Command::new(std::env::current_exe()?.with_file_name("worker"));
    command
        .args(["ready", "--engine", &engine.to_string()])
        .args(["--precision", &precision.to_string(), "--models"])
        .arg(&args.models)
        .arg("--without-gallery")
        .arg(photo)
        .stdin(Stdio::null());
    if let Some(device) = args.device.as_ref().filter(|_| engine == EngineName::Torch) {
        command.args(["--device", device]);
    }
    let output = command.output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let is_message = |line: &&str| line.starts_with("worker: ") || line.starts_with("error: ");
        let reason = errors
            .lines()
            .find(is_message)
            .unwrap_or("it failed without a message");
        anyhow::bail!("not here: {}", reason.trim_start_matches("worker: "));
    }
    let mut lines = BufReader::new(&*output.stdout).lines();
    Ok((parse(lines.next())?, parse(lines.next())?))
}

fn parse<T: DeserializeOwned>(line: Option<std::io::Result<String>>) -> anyhow::Result<T> {
    let line = line.context("it printed too little")??;
    Ok(serde_json::from_str(&line)?)
}

fn sample_photo() -> Option<PathBuf> {
    let photos = crate::enrol::photos_below(Path::new(SAMPLE_PHOTOS)).ok()?;
    photos.into_iter().next()
}
