//! `scaler simulate`: what each policy does with recorded and made-up arrivals, and what that costs.
//!
//! A deterministic discrete-event simulation of the queue, EC2 and the workers drives the real [`crate::plan::plan`].
//! The same seed gives the same result, bit for bit.

mod bill;
mod chart;
mod histogram;
mod limit;
mod machine;
mod optimum;
mod outcome;
mod random;
mod report;
mod settings;
#[cfg(test)]
mod tests;
mod traces;
mod world;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::config::{policy_kind, positive_duration, share, window};
use crate::plan::{Bounds, Goal, Policy, PolicyKind, Window};
use optimum::{Optimum, Task};
use outcome::Outcome;
use report::Report;
use settings::Settings;
use traces::{NAMES, Trace};
use world::World;

/// Time since the beginning of a simulation, in microseconds.
type Micros = u64;

/// What the policy `schedule` keeps all day unless it is told otherwise.
const ALL_DAY_WORKERS: u32 = 8;
/// The most workers of the large day.
const DAY_WORKERS: u32 = 10_000;

/// What to simulate.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateArgs {
    /// A policy; may be given several times, absent: all
    #[arg(long, value_name = "NAME", value_parser = policy_kind())]
    pub policy: Vec<PolicyKind>,
    /// step, ramp, diurnal, flash-crowd, on-off, heavy-tailed, or a file with one arrival a line, in seconds; may be
    /// given several times, absent: all that have names
    #[arg(long, value_name = "NAME|FILE")]
    pub trace: Vec<String>,
    /// The same seed gives the same result
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Within what time requests are to be answered
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = positive_duration)]
    pub latency_target: Duration,
    /// The most workers there may be
    #[arg(long, default_value_t = 15, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=500_000))]
    pub max_workers: u32,
    /// Workers that are kept at times of the day under any policy, the traces beginning at 00:00: 08:00-18:00=5; absent:
    /// 00:00-24:00=8 under the policy `schedule`, which knows nothing else, and none under the others
    #[arg(
        long,
        value_name = "WINDOWS",
        value_parser = window,
        value_delimiter = ','
    )]
    pub schedule: Vec<Window>,
    /// The share of starts that never end in a ready worker, up to 0.9
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub failing_boots: f64,
    /// The share of jobs that their worker dies with, up to 0.9; another one does them again
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub deadly_jobs: f64,
    /// Where to write the figures
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where to draw demand, machines and latency: one file, or one for each trace in a folder
    #[arg(long, value_name = "FILE|DIR")]
    pub svg: Option<PathBuf>,
    /// Simulate a day of 10,000 instances and 100 million requests instead, unless traces are given, too
    #[arg(long)]
    pub day: bool,
}

/// One policy on one trace.
#[derive(Debug)]
struct Run {
    policy: PolicyKind,
    outcome: Outcome,
}

/// All policies on one trace.
#[derive(Debug)]
struct Comparison {
    /// What the policy `schedule` was told.
    schedule: Vec<Window>,
    trace: Trace,
    settings: Settings,
    optimum: Optimum,
    runs: Vec<Run>,
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
        let mut report = Report::default();
        for name in self.trace_names() {
            let compared = self.compare(self.load(&name)?);
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
            self.draw(path, &report)?;
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

    fn load(&self, name: &str) -> anyhow::Result<Trace> {
        if let Some(trace) = Trace::named(name, self.seed) {
            return Ok(trace);
        }
        let path = PathBuf::from(name);
        anyhow::ensure!(
            path.exists(),
            "there is no trace {name}: neither a file nor one of {}",
            NAMES.join(", ")
        );
        traces::recorded::read(&path)
    }

    fn compare(&self, trace: Trace) -> Comparison {
        let kinds = if self.policy.is_empty() {
            PolicyKind::ALL.to_vec()
        } else {
            self.policy.clone()
        };
        let settings = self.settings();
        let runs = kinds
            .into_iter()
            .map(|policy| Run {
                policy,
                outcome: simulate(&self.scheduled(&settings, policy), &trace),
            })
            .collect();
        let arrivals: Vec<_> = trace.arrivals(self.seed).collect();
        let task = Task {
            latency: settings.policy.goal.latency.as_secs_f64(),
            service: settings.service.0,
            boot: settings.boot.0,
            minimum: settings.policy.prices.minimum.as_secs_f64(),
            max_workers: self.max_workers,
        };
        Comparison {
            schedule: self.windows(PolicyKind::Schedule),
            optimum: optimum::optimum(&arrivals, task),
            trace,
            settings,
            runs,
        }
    }

    fn settings(&self) -> Settings {
        let defaults = Settings::default();
        let policy = Policy {
            bounds: Bounds {
                max_workers: self.max_workers,
                ..Bounds::default()
            },
            goal: Goal {
                latency: self.latency_target,
                service_time: Duration::from_secs_f64(defaults.service.0),
                boot_time: Duration::from_secs_f64(defaults.boot.0),
            },
            ..Policy::default()
        };
        Settings {
            seed: self.seed,
            policy,
            failing_boots: self.failing_boots,
            deadly_jobs: self.deadly_jobs,
            ..defaults
        }
    }

    /// The settings for a policy, with its schedule.
    fn scheduled(&self, settings: &Settings, kind: PolicyKind) -> Settings {
        let mut settings = with_kind(settings, kind);
        settings.policy.schedule = self.windows(kind);
        settings
    }

    /// What `kind` is to keep by the clock.
    fn windows(&self, kind: PolicyKind) -> Vec<Window> {
        if kind != PolicyKind::Schedule || !self.schedule.is_empty() {
            return self.schedule.clone();
        }
        let day = Duration::from_secs(24 * 60 * 60);
        vec![Window {
            from: Duration::ZERO,
            to: day,
            min_workers: ALL_DAY_WORKERS.min(self.most_workers()),
        }]
    }

    fn most_workers(&self) -> u32 {
        if self.day && self.trace.is_empty() {
            DAY_WORKERS
        } else {
            self.max_workers
        }
    }

    /// Answers how many seconds it took.
    fn simulate_day(&self, output: &mut impl Write) -> anyhow::Result<f64> {
        let kind = self.policy.first().copied().unwrap_or_default();
        let settings = Settings {
            failing_boots: self.failing_boots,
            deadly_jobs: self.deadly_jobs,
            ..self.scheduled(&large_fleet(self.seed), kind)
        };
        let trace = Trace::large_day();
        let begin = Instant::now();
        let outcome = simulate(&settings, &trace);
        let seconds = begin.elapsed().as_secs_f64();
        output.write_all(report::day(kind, &outcome, seconds).as_bytes())?;
        Ok(seconds)
    }

    fn draw(&self, path: &std::path::Path, report: &Report) -> anyhow::Result<()> {
        if path.extension().is_some_and(|extension| extension == "svg") {
            return write(path, &chart::svg(&report.comparisons));
        }
        for compared in &report.comparisons {
            let file = path.join(format!("{}.svg", compared.trace.name));
            write(&file, &chart::svg(std::slice::from_ref(compared)))?;
        }
        Ok(())
    }
}

fn with_kind(settings: &Settings, kind: PolicyKind) -> Settings {
    let mut settings = settings.clone();
    settings.policy.kind = kind;
    settings
}

fn simulate(settings: &Settings, trace: &Trace) -> Outcome {
    World::new(settings).run(
        trace.arrivals(settings.seed),
        (trace.length * 1e6) as Micros,
    )
}

/// For the large day: requests take 5 s each, which keeps 9,260 workers busy at noon. Plans are made every 2 s only,
/// below the gap after which the scaler thinks that it was held up.
fn large_fleet(seed: u64) -> Settings {
    const TICK: Duration = Duration::from_secs(2);
    let service = 5.0;
    let policy = Policy {
        bounds: Bounds {
            max_workers: DAY_WORKERS,
            ..Bounds::default()
        },
        goal: Goal {
            latency: Duration::from_secs(20),
            service_time: Duration::from_secs_f64(service),
            ..Goal::default()
        },
        ..Policy::default()
    };
    Settings {
        seed,
        policy,
        service: (service, 0.5),
        tick: TICK,
        keeps_pace: false,
        gather: TICK,
        pool: DAY_WORKERS,
        ..Settings::default()
    }
}

fn write(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
