//! `worker ready`: measures a start, for `make bench`.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::service::{LinkedEngines, ModelArgs};
use crate::vision::{Gallery, Recognizer};
use anyhow::Context;
use platform::process::print;
use serde::{Deserialize, Serialize};

/// Photos after the first, of whose times the median counts.
const STEADY_PHOTOS: usize = 10;

/// Ticks a second in /proc (`USER_HZ`), 100 on all common Linux machines.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, clap::Args)]
pub struct ReadyArgs {
    /// Photo to recognize
    photo: PathBuf,
    /// Stay until standard input ends, to measure the memory of several workers at once
    #[arg(long)]
    hold: bool,
    /// Measure without a gallery
    #[arg(long)]
    without_gallery: bool,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// The first line on standard output, as JSON, once the networks are loaded and have run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Instructions or device of the embedder.
    pub runs_on: String,
    /// Since the process started, dynamic linking included, in the kernel's steps of 10 ms. The parent process can
    /// measure more exactly by the time of this line.
    pub ready_ms: f64,
    /// Processor time so far.
    pub cpu_ms: f64,
}

/// The second line.
#[derive(Debug, Serialize, Deserialize)]
pub struct PhotoTimes {
    pub first_answer_ms: f64,
    pub steady_median_ms: f64,
    /// Memory at the end: resident, and with each shared page divided by the number of processes that share it.
    pub rss_mb: f64,
    pub pss_mb: f64,
}

pub fn run(args: &ReadyArgs, linked: LinkedEngines) -> anyhow::Result<ExitCode> {
    let recognizer = match args.without_gallery {
        true => args.model.load_with_gallery(linked, Gallery::default())?,
        false => args.model.load(linked)?,
    };
    recognizer.warm_up();
    print_line(&Ready {
        runs_on: recognizer.runs_on(),
        ready_ms: since_process_start_ms()?,
        cpu_ms: cpu_ms()?,
    })?;
    let photo = std::fs::read(&args.photo)
        .with_context(|| format!("cannot read {}", args.photo.display()))?;
    let first_answer_ms = photo_ms(&recognizer, &photo)?;
    let mut steady = (0..STEADY_PHOTOS)
        .map(|_| photo_ms(&recognizer, &photo))
        .collect::<anyhow::Result<Vec<f64>>>()?;
    steady.sort_by(f64::total_cmp);
    print_line(&PhotoTimes {
        first_answer_ms,
        steady_median_ms: steady[STEADY_PHOTOS / 2],
        rss_mb: memory_mb("Rss:")?,
        pss_mb: memory_mb("Pss:")?,
    })?;
    if args.hold {
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a line of JSON. Standard output is flushed at the end of a line, to a pipe too.
fn print_line(line: &impl Serialize) -> anyhow::Result<()> {
    print(serde_json::to_string(line)?)
}

fn photo_ms(recognizer: &Recognizer, photo: &[u8]) -> anyhow::Result<f64> {
    let start = Instant::now();
    recognizer.recognize(photo)?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

/// Returns the time since the kernel started the process. A clock of its own would begin in `main`, after linking.
fn since_process_start_ms() -> anyhow::Result<f64> {
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let uptime_seconds = uptime.split(' ').next().context("no uptime")?;
    // The second field is the program's name in brackets and may hold spaces. The start time is field 22.
    let (_, from_third) = stat.rsplit_once(") ").context("no name")?;
    let started_ticks = from_third.split(' ').nth(22 - 3).context("no start time")?;
    let started_seconds = started_ticks.parse::<f64>()? / TICKS_PER_SECOND;
    Ok((uptime_seconds.parse::<f64>()? - started_seconds) * 1000.0)
}

/// Returns the sum over all threads, which the kernel counts in nanoseconds.
fn cpu_ms() -> anyhow::Result<f64> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let line = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_processor = line.split(' ').next().context("no processor time")?;
        nanoseconds += on_processor.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e6)
}

fn memory_mb(field: &str) -> anyhow::Result<f64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let kilobytes = rollup
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .with_context(|| format!("no {field} in smaps_rollup"))?;
    Ok(kilobytes.parse::<f64>()? / 1024.0)
}
