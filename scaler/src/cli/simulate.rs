//! `scaler simulate`: compares latency and cost of the policies on recorded and made-up arrivals, and chooses settings.

mod recording;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use platform::duration;

use crate::config::{keep_idle, policy_kind, share, window};
use crate::plan::{Bounds, KeepIdle, Policy, PolicyKind, Prices, Targets, Timeouts, Window};
use crate::simulate::report::{self, Report};
use crate::simulate::tune::table;
use crate::simulate::{Comparison, DAY_WORKERS, NAMES, Scenario, Trace, chart, simulate, tune};
use recording::Recorded;

/// What the policy `schedule` keeps all day by default.
const ALL_DAY_WORKERS: u32 = 8;

/// What to simulate.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = duration::HELP)]
pub struct SimulateArgs {
    /// A policy; may be given several times [default: all]
    #[arg(long, value_name = "NAME", value_parser = policy_kind())]
    pub policy: Vec<PolicyKind>,
    /// step, ramp, diurnal, flash-crowd, on-off, heavy-tailed, or a file: one arrival a line, in seconds, or the output of
    /// `scaler watch --every --json`; may be given several times [default: all that have names]
    #[arg(long, value_name = "NAME|FILE")]
    pub trace: Vec<String>,
    /// The same seed gives the same result
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Choose settings by each trace: they are compared on its first part and tried on the rest, and the best few are
    /// printed, with the scaler's command line
    #[arg(long, requires = "trace", conflicts_with_all = ["day", "schedule", "svg", "html", "clip_frames"])]
    pub tune: bool,
    /// The longest time from a request's acceptance to its reply [default: that of a recording, else 2s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub latency_target: Option<Duration>,
    /// The most workers there may be [default: those of a recording, else 15]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=500_000))]
    pub max_workers: Option<u32>,
    /// Mean time that one request occupies a worker [default: that of a recording, else 300ms]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub service_time: Option<Duration>,
    /// Mean time from the order to start an instance until its worker is ready [default: that of a recording, else 20s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub boot_time: Option<Duration>,
    /// Shortest time that a start of an instance is billed for [default: that of a recording, else 1m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub billing_minimum: Option<Duration>,
    /// The longest time that `latency` and `step` keep a worker that is not needed; `auto` applies each policy's own rule
    #[arg(long, default_value = "auto", value_name = "auto|DURATION", value_parser = keep_idle)]
    pub keep_idle: KeepIdle,
    /// Workers that are kept at times of the day under any policy: 08:00-18:00=5. Traces begin at 00:00
    /// [default: 00:00-24:00=8 under the policy `schedule`, none under the others]
    #[arg(
        long,
        value_name = "WINDOWS",
        value_parser = window,
        value_delimiter = ','
    )]
    pub schedule: Vec<Window>,
    /// The share of boots that never lead to a ready worker, up to 0.9
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub failing_boots: f64,
    /// The share of jobs that kill their worker, up to 0.9; another worker repeats them
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub deadly_jobs: f64,
    /// Post a clip of so many frames at the beginning of each trace. Photos go first; the optimum is that of the photos alone
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub clip_frames: u64,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw demand, workers and latency: into one file, or one for each trace in a folder
    #[arg(long, value_name = "FILE|DIR")]
    pub svg: Option<PathBuf>,
    /// Write a page with the charts and the figures, for a browser
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Simulate a day of 10,000 instances and 100 million requests, instead of the named traces unless --trace is given too
    #[arg(long)]
    pub day: bool,
}

impl SimulateArgs {
    /// Simulates, and prints to `output`.
    ///
    /// # Errors
    /// When a trace is unknown or cannot be read, or a file or `output` cannot be written.
    pub fn run(&self, output: &mut impl Write) -> anyhow::Result<()> {
        let scheduled = self.schedule.iter().map(|window| window.min_workers).max();
        let (scheduled, most) = (scheduled.unwrap_or(0), self.most_workers());
        anyhow::ensure!(
            scheduled <= most,
            "--schedule asks for {scheduled} workers, which exceeds the maximum of {most}"
        );
        if self.tune {
            return self.tune_all(output);
        }
        let mut report = Report::default();
        for name in self.trace_names() {
            let (trace, recorded) = self.load(&name)?;
            let compared = self.compare(trace, recorded);
            output.write_all(report::table(&compared).as_bytes())?;
            output.flush()?;
            report.comparisons.push(compared);
        }
        if self.day {
            report.day_seconds = Some(self.simulate_day(output)?);
        }
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(&report.json())?;
            write(path, &(json + "\n"))?;
        }
        if let Some(path) = &self.svg {
            draw(path, &report)?;
        }
        if let Some(path) = &self.html {
            write(path, &chart::page(&report.comparisons))?;
        }
        Ok(())
    }

    fn trace_names(&self) -> Vec<String> {
        if self.trace.is_empty() && !self.day {
            NAMES.map(str::to_owned).to_vec()
        } else {
            self.trace.clone()
        }
    }

    fn load(&self, name: &str) -> anyhow::Result<(Trace, Recorded)> {
        if let Some(trace) = Trace::named(name, self.seed) {
            return Ok((trace, Recorded::default()));
        }
        let path = Path::new(name);
        anyhow::ensure!(
            path.exists(),
            "there is no trace {name}: neither a file nor one of {}",
            NAMES.join(", ")
        );
        let cannot = || format!("cannot read the trace {name}");
        let mut file = BufReader::new(File::open(path).with_context(cannot)?);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let read = if recording::is_recording(file.fill_buf().with_context(cannot)?) {
            recording::parse(&stem, file)
        } else {
            let text = std::io::read_to_string(file).with_context(cannot)?;
            Trace::parse(&stem, &text).map(|trace| (trace, Recorded::default()))
        };
        read.with_context(|| format!("in the trace {name}"))
    }

    fn compare(&self, trace: Trace, recorded: Recorded) -> Comparison {
        let kinds = match &self.policy[..] {
            [] => &PolicyKind::ALL[..],
            kinds => kinds,
        };
        Comparison::new(
            trace,
            self.scenario(recorded),
            kinds,
            self.windows(PolicyKind::Schedule),
        )
    }

    /// Chooses settings by each trace, of the policies that are given or of all that need no schedule.
    fn tune_all(&self, output: &mut impl Write) -> anyhow::Result<()> {
        let mut all = Vec::new();
        let mut kinds = self.policy.clone();
        if kinds.is_empty() {
            kinds.extend(PolicyKind::ALL);
            kinds.retain(|kind| *kind != PolicyKind::Schedule);
        }
        for name in &self.trace {
            let (trace, recorded) = self.load(name)?;
            let tuned = tune(&trace, &self.scenario(recorded), &kinds)?;
            output.write_all(table::table(&tuned).as_bytes())?;
            output.flush()?;
            all.push(tuned.json());
        }
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(&serde_json::json!({ "tuned": all }))?;
            write(path, &(json + "\n"))?;
        }
        Ok(())
    }

    /// Returns the scenario. What is not given is as recorded, or else the default.
    fn scenario(&self, recorded: Recorded) -> Scenario {
        let defaults = Scenario::default();
        let or = |given: Option<Duration>, recorded: Option<f64>, default: f64| {
            let given = given.map(|it| it.as_secs_f64());
            given.or(recorded).unwrap_or(default)
        };
        let (service, boot) = (defaults.service, defaults.boot);
        let service = (
            or(self.service_time, recorded.service, service.0),
            service.1,
        );
        let boot = (or(self.boot_time, recorded.boot, boot.0), boot.1);
        let boot_time = Duration::from_secs_f64(boot.0);
        let boot_deadline = recorded
            .boot_deadline
            .filter(|_| self.boot_time.is_none())
            .map_or_else(
                // Slow boots get more time, or no worker would ever come up.
                || {
                    Timeouts::default()
                        .boot_deadline
                        .max(boot_time.saturating_mul(4))
                },
                Duration::from_secs_f64,
            );
        let prices = Prices::default();
        let minimum = prices.minimum.as_secs_f64();
        let minimum = or(self.billing_minimum, recorded.minimum, minimum);
        let latency = Targets::default().latency.as_secs_f64();
        let latency = or(self.latency_target, recorded.latency_target, latency);
        let max_workers = self.max_workers.or(recorded.max_workers);
        let policy = Policy {
            bounds: Bounds {
                max_workers: max_workers.unwrap_or(Bounds::default().max_workers),
                ..Bounds::default()
            },
            targets: Targets {
                latency: Duration::from_secs_f64(latency),
                service_time: Duration::from_secs_f64(service.0),
                boot_time,
            },
            prices: Prices {
                per_hour: recorded.price_per_hour.unwrap_or(prices.per_hour),
                minimum: Duration::from_secs_f64(minimum),
            },
            timeouts: Timeouts {
                keep_idle: self.keep_idle,
                boot_deadline,
                ..Timeouts::default()
            },
            schedule: self.schedule.clone(),
            ..Policy::default()
        };
        Scenario {
            seed: self.seed,
            policy,
            service,
            boot,
            failing_boots: self.failing_boots,
            deadly_jobs: self.deadly_jobs,
            clip_frames: self.clip_frames,
            ..defaults
        }
    }

    /// Returns the schedule under a policy.
    fn windows(&self, kind: PolicyKind) -> Vec<Window> {
        if kind != PolicyKind::Schedule || !self.schedule.is_empty() {
            return self.schedule.clone();
        }
        vec![Window {
            from: Duration::ZERO,
            to: Duration::from_secs(24 * 60 * 60),
            min_workers: ALL_DAY_WORKERS.min(self.most_workers()),
        }]
    }

    fn most_workers(&self) -> u32 {
        if self.day && self.trace.is_empty() {
            DAY_WORKERS
        } else {
            self.max_workers.unwrap_or(Bounds::default().max_workers)
        }
    }

    /// Returns how many seconds it took.
    fn simulate_day(&self, output: &mut impl Write) -> anyhow::Result<f64> {
        let kind = self.policy.first().copied().unwrap_or_default();
        let mut scenario = Scenario {
            failing_boots: self.failing_boots,
            deadly_jobs: self.deadly_jobs,
            ..Scenario::large_fleet(self.seed).with_kind(kind)
        };
        scenario.policy.schedule = self.windows(kind);
        scenario.policy.timeouts.keep_idle = self.keep_idle;
        let begin = Instant::now();
        let outcome = simulate(&scenario, &Trace::large_day());
        let seconds = begin.elapsed().as_secs_f64();
        output.write_all(report::day(kind, &outcome, seconds).as_bytes())?;
        Ok(seconds)
    }
}

fn draw(path: &Path, report: &Report) -> anyhow::Result<()> {
    if path.extension().is_some_and(|extension| extension == "svg") {
        return write(path, &chart::svg(&report.comparisons));
    }
    for compared in &report.comparisons {
        let file = path.join(format!("{}.svg", compared.trace.name));
        write(&file, &chart::svg(std::slice::from_ref(compared)))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
