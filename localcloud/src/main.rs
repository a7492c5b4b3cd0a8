//! The `localcloud` binary: reads its arguments, binds its ports and runs.

mod cli;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::exit;

use anyhow::Context;
use clap::Parser;
use cli::Arguments;
use localcloud::Listeners;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let default_filter = "info,s3s=off,fjall=warn,lsm_tree=warn";
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter)),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let arguments = Arguments::parse();
    let done = runtime()
        .context("cannot start threads")
        .and_then(|runtime| runtime.block_on(start(arguments)));
    if let Err(error) = done {
        eprintln!("localcloud: {error:#}");
        exit(1);
    }
}

/// One thread for each two cores, or as many as `TOKIO_WORKER_THREADS` says: the services wait for their callers most of the
/// time, and more threads wake each other more often.
fn runtime() -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads((cores / 2).max(1));
    }
    builder.enable_all().build()
}

async fn start(arguments: Arguments) -> anyhow::Result<()> {
    let (listen, only) = arguments.addresses();
    let config = arguments.into_config()?;
    let mut listeners = Listeners {
        all: bind(listen).await?,
        only: Vec::new(),
    };
    for (service, address) in only {
        listeners.only.push((service, bind(address).await?));
    }
    localcloud::run_on(config, listeners, shutdown_signal()?).await?;
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: stop the process that uses it, or set another address")
    })
}

/// Returns a future that completes at the first SIGINT or SIGTERM. A second signal exits at once, and the watchdog kills
/// the instances.
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => info!("received SIGINT"),
            _ = terminate.recv() => info!("received SIGTERM"),
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            warn!("received a second signal: exiting at once");
            exit(130);
        });
    })
}
