//! The arguments of `loadgen run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use platform::duration::{parse, parse_positive};

use crate::arrivals::Process;
use crate::target::{TargetArgs, at_least_one, up_to};

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Number of requests. With fewer photos, they are sent repeatedly
    #[arg(
        short,
        long,
        aliases = ["num_request", "num-requests", "n", "requests"],
        value_name = "N",
        value_parser = up_to::<1_000_000_000>,
        required_unless_present_any = ["duration", "trace"]
    )]
    pub num_request: Option<usize>,
    /// Folder of the photos
    #[arg(long, alias = "image_folder", value_name = "DIR")]
    pub image_folder: PathBuf,
    /// CSV file with the columns Image,Results: the name of the person on each photo. With a column Variant, the accuracy of
    /// each kind of photo is printed
    #[arg(long, alias = "prediction_file", value_name = "CSV")]
    pub prediction_file: PathBuf,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub open: OpenArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The open loop.
#[derive(Debug, Args)]
#[command(next_help_heading = "Open loop", group(ArgGroup::new("load").args(["rate", "trace"])))]
pub struct OpenArgs {
    /// Requests a second. They are sent when they are due, whether or not earlier ones have ended, and never again; latency
    /// counts from when they are due. Without --rate and --trace, the loop is closed: each of --concurrency clients sends
    /// its next request when its last one has ended, and latency counts from the send. A service that stalls is then asked
    /// less just while it is slow, and its latencies look better than users would find them
    #[arg(long, value_name = "R", value_parser = positive_rate)]
    pub rate: Option<f64>,
    /// How long requests are sent, with --ramp and --warm-up
    #[arg(long, value_name = "DURATION", requires = "load", value_parser = parse_positive)]
    pub duration: Option<Duration>,
    /// Time in which the rate rises from 0 to --rate, in a straight line
    #[arg(long, value_name = "DURATION", requires = "rate", default_value = "0s", value_parser = parse)]
    pub ramp: Duration,
    /// How requests arrive
    #[arg(long, value_enum, requires = "rate", default_value_t = ArrivalsArg::Constant)]
    pub arrivals: ArrivalsArg,
    /// Requests of a burst. Bursts arrive as from independent users, so that the mean rate is --rate
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub burst_size: u32,
    /// Equal seeds give equal arrivals
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Send at the times in this file instead: one arrival a line, in seconds, as `scaler simulate --trace` reads it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ramp", "arrivals", "burst_size"])]
    pub trace: Option<PathBuf>,
    /// Requests due in this time are sent and left out of the statistics
    #[arg(long, value_name = "DURATION", requires = "load", default_value = "0s", value_parser = parse)]
    pub warm_up: Duration,
    /// Requests in flight at once. Those beyond are not sent but counted, and then the run fails: it did not offer the load
    /// that was ordered [default: 10000, or what the limit on open files allows]
    #[arg(long, value_name = "N", requires = "load", value_parser = at_least_one)]
    pub max_in_flight: Option<usize>,
}

/// What is shown and written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report with charts, in one file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// URL at which the scaler serves gRPC: the report shows workers beside demand, and what they cost
    #[arg(long, value_name = "URL")]
    pub scaler: Option<String>,
    /// With --scaler, the longest wait after the last response until no worker runs
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse)]
    pub idle_within: Duration,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalsArg {
    /// At equal distances
    Constant,
    /// As from independent users
    Poisson,
    /// --burst-size at once
    Bursts,
}

impl OpenArgs {
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.rate.is_some() || self.trace.is_some()
    }

    #[must_use]
    pub fn process(&self) -> Process {
        match self.arrivals {
            ArrivalsArg::Constant => Process::Constant,
            ArrivalsArg::Poisson => Process::Poisson,
            ArrivalsArg::Bursts => Process::Bursts {
                size: self.burst_size,
            },
        }
    }

    /// Says what is sent, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        if let Some(trace) = &self.trace {
            return format!("arrivals of {}", trace.display());
        }
        let rate = self.rate.unwrap_or_default();
        let mut text = match self.process() {
            Process::Constant => format!("{rate} requests a second at equal distances"),
            Process::Poisson => format!("{rate} requests a second as from independent users"),
            Process::Bursts { size } => format!("{rate} requests a second in bursts of {size}"),
        };
        if !self.ramp.is_zero() {
            text += &format!(", after a ramp of {} s", self.ramp.as_secs_f64());
        }
        text
    }
}

fn positive_rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| (0.001..=1e6).contains(rate))
        .ok_or_else(|| "give requests a second, from 0.001 to 1000000".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(arguments: &str) -> Result<RunArgs, clap::Error> {
        let all = format!("loadgen run --image-folder d --prediction-file c {arguments}");
        match Cli::try_parse_from(all.split_whitespace())?.command {
            Command::Run(args) => Ok(*args),
            _ => panic!("not the command run"),
        }
    }

    #[test]
    fn a_rate_or_a_trace_makes_the_loop_open() {
        assert!(!parsed("--n 5").unwrap().open.is_open());
        let open = parsed("--rate 12.5 --duration 60s --arrivals bursts --burst-size 4");
        let open = open.unwrap().open;
        assert_eq!((open.is_open(), open.rate), (true, Some(12.5)));
        assert_eq!(open.process(), Process::Bursts { size: 4 });
        assert!(parsed("--trace t.csv").unwrap().open.is_open());
    }

    #[test]
    fn absurd_loads_are_refused() {
        for absurd in [
            "--n 18446744073709551615 --rate 0.5",
            "--n 1000000001",
            "--rate 1e300 --duration 1s",
        ] {
            assert!(parsed(absurd).is_err(), "{absurd}");
        }
        let most = parsed("--n 1000000000 --rate 0.001").unwrap();
        assert_eq!(most.num_request, Some(1_000_000_000));
    }

    #[test]
    fn contradictory_and_meaningless_loads_are_refused() {
        for wrong in [
            "",
            "--rate 5",
            "--duration 5s",
            "--n 5 --warm-up 1s",
            "--n 5 --arrivals poisson",
            "--rate 0 --duration 1s",
            "--rate nan --duration 1s",
            "--rate 5 --trace t",
            "--trace t --arrivals poisson",
            "--rate 5 --duration 0s",
            "--rate 5 --duration 1s --max-in-flight 0",
            "--rate 5 --duration 1s --arrivals bursts --burst-size 0",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
