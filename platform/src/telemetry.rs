//! Logs and metrics.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Settings of the log.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct TelemetryArgs {
    /// Log filter: a level, or directives such as `info,scaler=debug`
    #[arg(
        long,
        env = "MUSTER_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log: String,
    /// Format of the log lines
    #[arg(
        long,
        env = "MUSTER_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Buckets of all histograms named `*_seconds`.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

/// Starts logging (to standard error) and metrics, and disables core dumps. Every service calls it once, first.
///
/// # Errors
/// When the filter cannot be parsed.
pub fn init(args: &TelemetryArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would report them on standard error, too, and panic when that is closed: a service then could not shut down.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match args.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    metrics_handle();
    crate::process::disable_core_dumps();
    Ok(())
}

/// Returns the process's metrics in Prometheus' text format.
#[must_use]
pub fn render_metrics() -> String {
    metrics_handle().render()
}

/// Installs the recorder at the first call. Tests that run several services in one process share it.
fn metrics_handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .expect("the bucket list is not empty")
            .install_recorder()
            .expect("no other recorder is installed");
        let kept = handle.clone();
        let upkeep = move || {
            loop {
                std::thread::park_timeout(UPKEEP_EVERY);
                kept.run_upkeep();
            }
        };
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(upkeep)
            .expect("a thread starts");
        handle
    })
}

/// A histogram keeps every sample until it is rendered or upkeep runs, and may never be rendered.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
