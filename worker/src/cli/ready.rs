//! `worker ready`: what a start costs, for `make bench`.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::service::{LinkedEngines, ModelArgs};
use crate::vision::{Gallery, Recogniser};
use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Answers after the first, of which the median counts.
const STEADY_ANSWERS: usize = 10;

/// Ticks a second in /proc (`USER_HZ`), 100 on all common Linux machines.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, clap::Args)]
pub struct ReadyArgs {
    /// Photo to recognise
    photo: PathBuf,
    /// Stay until standard input ends, so that the memory of several workers at once can be looked at
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
    /// Since the process started, dynamic linking included; in steps of 10 ms, since the kernel tells no more exactly
    /// when that was. Who starts the process can take the time of this line.
    pub ready_ms: f64,
    /// Processor time so far.
    pub cpu_ms: f64,
}

/// The second line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answered {
    pub first_answer_ms: f64,
    pub steady_median_ms: f64,
    /// Memory after all answers: resident, and with each shared page divided by the number of processes that share it.
    pub rss_mb: f64,
    pub pss_mb: f64,
}

pub fn run(args: &ReadyArgs, linked: LinkedEngines) -> anyhow::Result<ExitCode> {
    let recogniser = match args.without_gallery {
        true => args.model.load_with_gallery(linked, Gallery::default())?,
        false => args.model.load(linked)?,
    };
    recogniser.warm_up();
    print_line(&Ready {
        runs_on: recogniser.runs_on(),
        ready_ms: since_process_start_ms()?,
        cpu_ms: cpu_ms()?,
    })?;
    let photo = std::fs::read(&args.photo)
        .with_context(|| format!("cannot read {}", args.photo.display()))?;
    let first_answer_ms = answer_ms(&recogniser, &photo)?;
    let mut steady = (0..STEADY_ANSWERS)
        .map(|_| answer_ms(&recogniser, &photo))
        .collect::<anyhow::Result<Vec<f64>>>()?;
    steady.sort_by(f64::total_cmp);
    print_line(&Answered {
        first_answer_ms,
        steady_median_ms: steady[STEADY_ANSWERS / 2],
        rss_mb: memory_mb("Rss:")?,
        pss_mb: memory_mb("Pss:")?,
    })?;
    if args.hold {
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Standard output passes a line on at its end, to a pipe too.
fn print_line(line: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(())
}

fn answer_ms(recogniser: &Recogniser, photo: &[u8]) -> anyhow::Result<f64> {
    let start = Instant::now();
    recogniser.recognise(photo)?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

/// The clock of the process itself begins only in `main`, after the program was mapped and linked.
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

/// The sum over all threads, which the kernel counts in nanoseconds.
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
