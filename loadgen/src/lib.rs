//! The load generator: `loadgen run` sends photos and checks the names, `loadgen photos` and `loadgen clips` make large labeled
//! sets of photos and clips, `loadgen grade` (as in `make demo`) also watches and grades the system.
//!
//! | module | what it does |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`run`], [`variants`], [`clips`], [`grade`] | the commands |
//! | [`target`] | the options that name the service under test |
//! | [`photos`], [`truth`] | the photos to send, and the CSV file of the names on them |
//! | [`drive`], [`client`], [`progress`] | sends the requests |
//! | [`schedule`], [`arrivals`] | when each request is sent, in a closed and an open loop |
//! | [`report`] | statistics, the checks of a pass, the report |
//! | [`output`] | files and lines that a command writes at its end |
//!
//! [`schedule`], [`arrivals`], [`report`] and [`truth`] are pure: they read no clock and do no I/O.

pub mod arrivals;
pub mod cli;
pub mod client;
pub mod clips;
pub mod drive;
pub mod grade;
pub mod output;
pub mod photos;
pub mod progress;
pub mod report;
pub mod run;
pub mod schedule;
pub mod target;
pub mod truth;
pub mod variants;

use cli::{Cli, Command};
use futures::future::BoxFuture;

/// Runs one command. Returns true when all names are right, or the grade is a pass.
///
/// # Errors
/// When the command cannot run. The error is one line with the cause and the remedy.
#[inline(never)]
pub fn execute(cli: Cli) -> BoxFuture<'static, anyhow::Result<bool>> {
    // Compiled here once, and not in each binary and test: see "Builds" in docs/development.md.
    Box::pin(async move {
        match cli.command {
            Command::Run(args) => run::run(&args).await,
            Command::Photos(args) => variants::make(&args),
            Command::Clips(args) => clips::make(&args),
            Command::Grade(args) => grade::grade(&args).await,
        }
    })
}
