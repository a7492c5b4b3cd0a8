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
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() {
    let default_filter = "info,s3s=off,fjall=warn,lsm_tree=warn";
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter)),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    if let Err(error) = start(Arguments::parse()).await {
        eprintln!("localcloud: {error:#}");
        exit(1);
    }
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
