//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use platform::access::KeyArgs;
use platform::duration::parse_positive;
use platform::tls::PeerTlsArgs;

use crate::clips::ClipsArgs;
use crate::grade::GradeArgs;
use crate::run::RunArgs;
use crate::variants::PhotosArgs;

/// Puts a face-recognition service under load, checks its responses, grades it, and makes photos and clips for this
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send requests and compare the responses with a CSV file. The exit status is 0 only if all are right, and 130 after Ctrl-C
    Run(Box<RunArgs>),
    /// Make a large labeled set of photos from a small one: cropped, darker, noisier, smaller, larger
    Photos(PhotosArgs),
    /// Make clips of known people at known times, with FFmpeg
    Clips(ClipsArgs),
    /// Send requests, watch queues, buckets and workers, and grade the system: a verdict, or points by a rubric
    Grade(Box<GradeArgs>),
}

/// The service under test.
#[derive(Debug, Clone, Args)]
#[command(after_help = platform::duration::HELP)]
pub struct TargetArgs {
    /// URL of the service: http://, https://, or front's gRPC as grpc://HOST:PORT or grpcs://HOST:PORT
    #[arg(long, alias = "server", value_name = "URL", default_value = "http://127.0.0.1:8000/", value_parser = url)]
    pub url: reqwest::Url,
    /// Requests in flight at once, in a closed loop
    #[arg(short, long, value_name = "C", default_value = "100", value_parser = at_least_one)]
    pub concurrency: usize,
    /// Longest wait for a response
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = parse_positive)]
    pub timeout: Duration,
    /// Retries of a request whose connection fails, in a closed loop
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub retries: u32,
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub tls: PeerTlsArgs,
}

impl TargetArgs {
    /// Whether the address is that of front's gRPC.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.url.scheme().starts_with("grpc")
    }
}

/// Parses a URL, or `host:port` as existing scripts have it.
pub fn url(text: &str) -> Result<reqwest::Url, String> {
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    match reqwest::Url::parse(&text) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https" | "grpc" | "grpcs") && url.has_host() =>
        {
            Ok(url)
        }
        Ok(_) => Err("give an address such as http://127.0.0.1:8000/".to_owned()),
        Err(error) => Err(format!(
            "{error}; give an address such as http://127.0.0.1:8000/"
        )),
    }
}

/// Parses a number from 1 on.
///
/// # Errors
/// When it is none.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "give a whole number from 1 on".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &str) -> Result<RunArgs, clap::Error> {
        let arguments = ["loadgen", "run"].into_iter().chain(arguments.split(' '));
        match Cli::try_parse_from(arguments)?.command {
            Command::Run(args) => Ok(*args),
            _ => panic!("not the command run"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_options_of_existing_scripts_are_accepted() {
        for arguments in [
            "--url http://h:8000/ --num-request 7 --image-folder d --prediction-file c",
            "--num_request 7 --url http://h:8000/ --image_folder d --prediction_file c",
            "--n 7 --server h:8000 --image_folder=d --prediction_file=c",
        ] {
            let args = parse(arguments).unwrap();
            assert_eq!(args.num_request, Some(7));
            assert_eq!(args.target.url.as_str(), "http://h:8000/");
            assert_eq!(args.image_folder, PathBuf::from("d"));
            assert_eq!(args.prediction_file, PathBuf::from("c"));
            assert_eq!(args.target.concurrency, 100);
        }
    }

    #[test]
    fn invalid_values_are_refused() {
        for wrong in [
            "--concurrency 0",
            "--timeout -1",
            "--timeout nan",
            "--timeout 0",
            "--url ftp://h/",
        ] {
            let arguments = format!("--n 1 --image-folder d --prediction-file c {wrong}");
            assert!(parse(&arguments).is_err(), "{wrong}");
        }
    }
}
