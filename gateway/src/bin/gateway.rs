//! `gateway`: receives photos over HTTP and responds with names.

use std::net::SocketAddr;

use clap::Parser;
use gateway::http::{Config, run};
use gateway::keys::KeysArgs;
use platform::admin::bind;
use platform::shutdown::on_signal;
use platform::telemetry::{self, TelemetryArgs};

/// Receives photos over HTTP, calls front to recognize them, and responds with names
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Address on which HTTP is served. The packaged unit sets it by MUSTER_HTTP_LISTEN
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

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make, list and remove API keys
    Keys(KeysArgs),
}

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

// A thread for each core: those who send much or slowly share it with everyone else.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(Command::Keys(args)) = args.command {
        return args.run(&mut std::io::stdout());
    }
    let _telemetry = telemetry::init("gateway", &args.telemetry)?;
    let shutdown = on_signal()?;
    run(args.config, bind(args.listen).await?, shutdown).await
}
