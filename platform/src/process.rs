//! What a process asks of the operating system when it starts, and how it prints.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use anyhow::Context;
use nix::sys::resource::{Resource, setrlimit};
use tokio::runtime::{Builder, Runtime};

/// Disables core dumps for the rest of this process's life: a dump would hold photos, API keys and private keys.
pub fn disable_core_dumps() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        tracing::warn!(%error, "core dumps stay enabled");
    }
}

/// Returns the runtime of a service whose tasks wait for others nearly all of the time: one thread for each two cores, or as
/// many as `TOKIO_WORKER_THREADS` says. More threads wake each other more often, which costs more than they gain.
///
/// # Errors
/// When the system refuses a thread.
pub fn runtime() -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads((cores / 2).max(1));
    }
    builder.enable_all().build()
}

/// Prints a line on standard output. A reader that has gone, as `head` does, is no error: a command still writes its files and
/// ends with its own status. `println!` panics then.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(line: impl Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => {
            printed.context("cannot write to standard output; check the disk that it goes to")
        }
    }
}
