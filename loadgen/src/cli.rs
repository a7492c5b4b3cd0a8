//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use platform::access::KeyArgs;
use platform::aws::AwsArgs;
use platform::tls::PeerTlsArgs;

use crate::report::verdict::Demands;

/// Sends photos to a face-recognition service and checks the names that come back
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

// One is made, when the program starts.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send requests and compare the answers with a CSV file; exit status 0 only if all are right
    Run(RunArgs),
    /// Send requests, watch queues, buckets and workers meanwhile, and judge how the system behaved
    Grade(GradeArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// How many requests to send; photos are sent again when there are fewer
    #[arg(short, long, aliases = ["num_request", "num-requests", "n", "requests"], value_name = "N")]
    pub num_request: usize,
    /// Folder with the photos
    #[arg(long, alias = "image_folder", value_name = "DIR")]
    pub image_folder: PathBuf,
    /// CSV file with the columns Image,Results that says who is on which photo
    #[arg(long, alias = "prediction_file", value_name = "CSV")]
    pub prediction_file: PathBuf,
}

#[derive(Debug, Args)]
pub struct GradeArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// How many requests to send, each with a file name of its own
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    pub requests: usize,
    /// Folder with one folder of photos for each person: DIR/<name>/*
    #[arg(long, value_name = "DIR", default_value = ".local/photos/val")]
    pub photos: PathBuf,
    /// Where the report goes; the photos sent and their CSV file are put beside it
    #[arg(long, value_name = "FILE", default_value = "target/demo/report.json")]
    pub report: PathBuf,
    /// The scaler's gRPC address
    #[arg(
        long,
        env = "MUSTER_SCALER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8052"
    )]
    pub scaler: String,
    /// Front's metrics, for example http://127.0.0.1:8061/metrics; absent: duplicate replies are not measured
    #[arg(long, env = "MUSTER_FRONT_METRICS", value_name = "URL")]
    pub front_metrics: Option<String>,
    /// How long to wait until the service is ready
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub ready_within: Duration,
    /// How long to wait after the last answer until no worker runs
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub idle_within: Duration,
    #[command(flatten)]
    pub demands: Demands,
    #[command(flatten)]
    pub aws: AwsArgs,
}

/// Where the requests go, and how.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// Address of the service
    #[arg(long, alias = "server", value_name = "URL", default_value = "http://127.0.0.1:8000/", value_parser = url)]
    pub url: reqwest::Url,
    /// How many requests are under way at once
    #[arg(short, long, value_name = "C", default_value = "100", value_parser = at_least_one)]
    pub concurrency: usize,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub timeout: Duration,
    /// How often a request is sent again when its connection fails
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub retries: u32,
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub tls: PeerTlsArgs,
}

/// Existing scripts give `host:port` as well.
fn url(text: &str) -> Result<reqwest::Url, String> {
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    match reqwest::Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        Ok(_) => Err("give an address such as http://127.0.0.1:8000/".to_owned()),
        Err(error) => Err(format!(
            "{error}; give an address such as http://127.0.0.1:8000/"
        )),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "give a number of seconds above 0".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "give a whole number from 1 on".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(arguments: &[&str]) -> RunArgs {
        match Cli::try_parse_from([&["loadgen", "run"], arguments].concat())
            .unwrap()
            .command
        {
            Command::Run(args) => args,
            Command::Grade(_) => panic!("run was asked for"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_spellings_of_existing_scripts_are_accepted() {
        let ours = [
            "--url",
            "http://h:8000/",
            "--num-request",
            "7",
            "--image-folder",
            "d",
            "--prediction-file",
            "c",
        ];
        let existing = [
            "--num_request",
            "7",
            "--url",
            "http://h:8000/",
            "--image_folder",
            "d",
            "--prediction_file",
            "c",
        ];
        let others = [
            "--n",
            "7",
            "--server",
            "h:8000",
            "--image_folder=d",
            "--prediction_file=c",
        ];
        for arguments in [&ours[..], &existing, &others] {
            let args = run(arguments);
            assert_eq!(args.num_request, 7);
            assert_eq!(args.target.url.as_str(), "http://h:8000/");
            assert_eq!(args.image_folder, PathBuf::from("d"));
            assert_eq!(args.prediction_file, PathBuf::from("c"));
            assert_eq!(args.target.concurrency, 100);
        }
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for wrong in [
            ["--concurrency", "0"],
            ["--timeout", "-1"],
            ["--timeout", "nan"],
            ["--url", "ftp://h/"],
        ] {
            let arguments = [
                "loadgen",
                "run",
                "--n",
                "1",
                "--image-folder",
                "d",
                "--prediction-file",
                "c",
            ];
            assert!(
                Cli::try_parse_from([&arguments[..], &wrong].concat()).is_err(),
                "{wrong:?}"
            );
        }
    }
}
