//! Sends photos to a face-recognition service, checks the names that come back, and grades how the system behaved:
//! `loadgen run` is the workload generator, `loadgen grade` what `make demo` does.
//!
//! [`schedule`], [`report`] and [`truth`] decide and compute on plain data; they read no clock and do no I/O.

pub mod cli;
pub mod client;
pub mod drive;
pub mod grade;
pub mod photos;
pub mod progress;
pub mod report;
pub mod run;
pub mod schedule;
pub mod truth;

use cli::{Cli, Command};
use futures::future::BoxFuture;

/// Runs one command; true when everything was as it should be.
///
/// # Errors
/// When the command could not be carried out at all: one line that says why and what mends it.
#[inline(never)]
pub fn execute(cli: Cli) -> BoxFuture<'static, anyhow::Result<bool>> {
    // Compiled here once, and not in each binary and test: see "Builds" in docs/development.md.
    Box::pin(async move {
        match cli.command {
            Command::Run(args) => run::run(&args).await,
            Command::Grade(args) => grade::grade(&args).await,
        }
    })
}
