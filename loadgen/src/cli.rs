//! The command line.

use clap::{Parser, Subcommand};

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
