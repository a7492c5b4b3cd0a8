//! The command line of `loadgen grade`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use platform::aws::AwsArgs;
use platform::duration::parse_positive;

use crate::report::verdict::PassCriteria;
use crate::target::{TargetArgs, up_to, url};

#[derive(Debug, Args)]
pub struct GradeArgs {
    /// Number of requests, each with its own file name
    #[arg(short, long, aliases = ["num_requests", "num-requests"], value_name = "N", default_value = "100", value_parser = up_to::<1_000_000>)]
    pub requests: usize,
    /// Folder of the photos, with a folder for each person: DIR/NAME/*
    #[arg(long, value_name = "DIR", default_value = ".local/photos/val")]
    pub photos: PathBuf,
    /// File for the report
    #[arg(long, value_name = "FILE", default_value = "target/demo/report.json")]
    pub report: PathBuf,
    /// URL at which the scaler serves gRPC
    #[arg(
        long,
        env = "MUSTER_SCALER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8052"
    )]
    pub scaler: String,
    /// Front's metrics, for example http://127.0.0.1:8061/metrics [default: none; duplicate replies are not
    /// measured]
    #[arg(long, env = "MUSTER_FRONT_METRICS", value_name = "URL")]
    pub front_metrics: Option<String>,
    /// Longest wait for the service to be ready
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_positive)]
    pub ready_within: Duration,
    /// Longest wait after the last response until no worker runs
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_positive)]
    pub idle_within: Duration,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub criteria: PassCriteria,
    #[command(flatten)]
    pub points: PointsArgs,
    #[command(flatten)]
    pub aws: AwsArgs,
}

/// Stands for the built-in rubric.
const BUILT_IN: &str = "built-in";

/// Each of these options asks for points instead of a verdict.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Points by a rubric, as in a course (any of these options)")]
pub struct PointsArgs {
    /// Give points by this rubric, a TOML file; without FILE, by the built-in one. Scaler and metrics are not asked, so any
    /// system with the names of the course can be graded
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = BUILT_IN)]
    pub rubric: Option<PathBuf>,
    /// Print the rubric and end
    #[arg(long)]
    pub print_rubric: bool,
    /// Folder of photos that are sent under their own names, instead of --photos
    #[arg(long, alias = "img_folder", value_name = "DIR", requires = "pred_file")]
    pub img_folder: Option<PathBuf>,
    /// CSV file with the columns Image,Results: the name of the person on each of these photos
    #[arg(long, alias = "pred_file", value_name = "CSV", requires = "img_folder")]
    pub pred_file: Option<PathBuf>,
    /// Address of the web tier: short for --url http://ADDRESS:8000/
    #[arg(
        long,
        alias = "ip_addr",
        value_name = "ADDRESS",
        conflicts_with = "url"
    )]
    pub ip_addr: Option<String>,
    /// Grade every row of this CSV file (columns ASUID, First Name, Last Name), one after the other: ASUID is the prefix of
    /// the names, and the address and the AWS keys are in the submission
    #[arg(long, value_name = "CSV", conflicts_with_all = ["submission", "ip_addr", "url"])]
    pub roster: Option<PathBuf>,
    /// Folder of the submissions, *ASUID*.zip
    #[arg(long, value_name = "DIR", default_value = "submissions")]
    pub submissions: PathBuf,
    /// Grade this submission, with --prefix. Its credentials/credentials.txt has ACCESS_KEY,SECRET_KEY,ADDRESS
    #[arg(long, value_name = "ZIP", conflicts_with = "ip_addr")]
    pub submission: Option<PathBuf>,
    /// File for the grades [default: grades.csv beside --report, where the HTML reports are, too]
    #[arg(long, value_name = "CSV")]
    pub grades: Option<PathBuf>,
    /// Empty the two buckets and the two queues of the prefix at the start, after a line that says so
    #[arg(long)]
    pub clean: bool,
    /// Exit with status 1 if a total is lower
    #[arg(long, value_name = "POINTS")]
    pub min_points: Option<f64>,
}

impl PointsArgs {
    /// Returns whether points are asked for.
    #[must_use]
    pub fn are_wanted(&self) -> bool {
        self.print_rubric
            || self.clean
            || self.min_points.is_some()
            || [
                &self.rubric,
                &self.img_folder,
                &self.roster,
                &self.submission,
                &self.grades,
            ]
            .iter()
            .any(|option| option.is_some())
            || self.ip_addr.is_some()
    }

    /// Returns the file of the rubric; `None` for the built-in one.
    #[must_use]
    pub fn rubric_file(&self) -> Option<&Path> {
        self.rubric
            .as_deref()
            .filter(|file| *file != Path::new(BUILT_IN))
    }
}

/// Returns the URL of a web tier at an address: an IP address or a name, with or without a port, or a URL.
///
/// # Errors
/// When it is none of these.
pub fn web_tier(address: &str) -> Result<reqwest::Url, String> {
    let address = address.trim();
    let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
    });
    if address.contains("://") || has_port {
        url(address)
    } else if address.contains(':') && !address.starts_with('[') {
        url(&format!("[{address}]:8000"))
    } else {
        url(&format!("{address}:8000"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(arguments: &str) -> Result<GradeArgs, clap::Error> {
        let arguments = ["loadgen", "grade"]
            .into_iter()
            .chain(arguments.split_whitespace());
        match Cli::try_parse_from(arguments)?.command {
            Command::Grade(args) => Ok(*args),
            _ => panic!("not the command grade"),
        }
    }

    #[test]
    fn without_its_options_there_is_a_verdict() {
        assert!(
            !parse("--requests 5 --report r.json")
                .unwrap()
                .points
                .are_wanted()
        );
    }

    #[test]
    fn limits_of_a_pass_are_seconds_or_have_units() {
        let criteria = parse("--max-first-answer 2.5 --max-scale-in 500ms")
            .unwrap()
            .criteria;
        assert_eq!(
            (criteria.max_first_answer, criteria.max_scale_in),
            (2.5, 0.5)
        );
        assert_eq!(criteria.max_mean, 0.61);
    }

    #[test]
    fn the_options_of_the_course_are_accepted() {
        let args =
            parse("--num_requests 100 --img_folder=d --pred_file=c --ip_addr 10.0.0.7").unwrap();
        assert!(args.points.are_wanted());
        assert_eq!(
            (args.requests, args.points.ip_addr.as_deref()),
            (100, Some("10.0.0.7"))
        );
        let args = parse("--rubric --num_requests 5").unwrap();
        assert_eq!(
            (args.points.are_wanted(), args.points.rubric_file()),
            (true, None)
        );
        let args = parse("--rubric mine.toml --clean").unwrap();
        assert_eq!(args.points.rubric_file(), Some(Path::new("mine.toml")));
        assert!(parse("--roster r.csv").unwrap().points.are_wanted());
        assert!(parse("--requests 18446744073709551615").is_err());
        assert!(parse("--img_folder d").is_err(), "without the names");
        assert!(
            parse("--roster r.csv --ip_addr h").is_err(),
            "two addresses"
        );
    }

    #[test]
    fn a_web_tier_listens_at_port_8000() {
        for (address, expected) in [
            ("127.0.0.1", "http://127.0.0.1:8000/"),
            (" host.example ", "http://host.example:8000/"),
            ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
            ("http://host:81/", "http://host:81/"),
            ("::1", "http://[::1]:8000/"),
            ("[::1]:81", "http://[::1]:81/"),
        ] {
            assert_eq!(web_tier(address).unwrap().as_str(), expected);
        }
        assert!(web_tier("").is_err() && web_tier("a b").is_err());
    }
}
