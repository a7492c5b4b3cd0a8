//! `front`: stores photos, enqueues jobs and returns workers' results, over gRPC.

use std::net::SocketAddr;

use clap::Parser;
use gateway::front::{Config, Deployment, run};
use platform::admin::bind;
use platform::aws::{Aws, AwsArgs};
use platform::process;
use platform::shutdown::on_signal;
use platform::telemetry::{self, TelemetryArgs};
use proto::Names;

/// Serves recognition over gRPC: stores photos, enqueues jobs, and returns the workers' results
#[derive(Debug, Parser)]
#[command(name = "front", version)]
struct Args {
    /// Address on which gRPC is served
    #[arg(
        long,
        env = "MUSTER_FRONT_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8051"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    aws: AwsArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    process::runtime()?.block_on(serve(Args::parse()))
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("front", &args.telemetry)?;
    let shutdown = on_signal()?;
    let listener = bind(args.listen).await?;
    let deployment = Deployment {
        aws: Aws::connect(&args.aws).await,
        names: Names::new(args.aws.prefix),
    };
    run(args.config, deployment, listener, shutdown).await
}
