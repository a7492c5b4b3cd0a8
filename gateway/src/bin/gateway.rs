//! `gateway`: takes photos over HTTP and answers with names.

use std::net::SocketAddr;

use clap::Parser;
use gateway::http::{Config, run};
use platform::admin::bind;
use platform::shutdown::on_signal;
use platform::telemetry::{self, TelemetryArgs};

/// Takes photos over HTTP, has front recognise them, and answers with names
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Address to serve HTTP on
    #[arg(
        long,
        env = "MUSTER_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8000"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    telemetry::init(&args.telemetry)?;
    let shutdown = on_signal()?;
    run(args.config, bind(args.listen).await?, shutdown).await
}
