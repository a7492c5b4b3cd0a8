//! `worker serve` with the light recognizer: all of a worker but its networks. Only chaos and benches use it.

use std::time::Duration;

use chaos::light::LightRecognizer;
use clap::Parser;
use platform::aws::Aws;
use platform::duration;
use platform::telemetry::{self, TelemetryArgs};
use worker::service::{RecognizePhotos, ServeArgs, run_with};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A worker that names a photo by its digest
#[derive(Debug, Parser)]
struct Args {
    /// How long a photo occupies its thread
    #[arg(long, env = "MUSTER_LIGHT_TIME", value_name = "DURATION", value_parser = duration::parse, default_value = "0ms")]
    light_time: Duration,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

// As `worker`: one thread does all I/O.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let _telemetry = telemetry::init("worker", &args.telemetry)?;
    let shutdown = platform::shutdown::on_signal()?;
    let aws = Aws::connect(&args.serve.aws).await;
    let recognizer = LightRecognizer {
        time: args.light_time,
    };
    let load = Box::new(move || Ok(Box::new(recognizer) as Box<dyn RecognizePhotos>));
    run_with(args.serve, load, aws, shutdown).await
}
