//! Logs, metrics and traces.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

use self::export::ExportGuard;
use self::json::WithIds;

mod export;
mod json;
pub mod server;
pub mod trace;

/// Settings of logs and traces.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logs and traces")]
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
    /// OpenTelemetry collector to which traces are sent by OTLP/gRPC, such as http://127.0.0.1:4317 [default: no
    /// traces]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub trace_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Running telemetry. Keep it until the process ends: drop sends the last spans, for at most a second.
#[derive(Debug)]
#[must_use = "dropping it ends the traces"]
pub struct Telemetry {
    _export_guard: Option<ExportGuard>,
}

/// Buckets of all histograms named `*_seconds`.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

/// Starts logs (to standard error), metrics and, where asked for, traces of `service`, and disables core dumps. Every
/// service calls it once, first.
///
/// # Errors
/// When the filter or the collector's URL cannot be parsed, or a certificate for the collector cannot be read.
pub fn init(service: &str, args: &TelemetryArgs) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(&args.log)?;
    let export_guard = export::endpoint(args.trace_endpoint.as_deref())
        .map(|endpoint| ExportGuard::start(service, &endpoint))
        .transpose()?;
    match &export_guard {
        // A filter of the whole subscriber is cheaper than one of a layer.
        None => registry().with(filter).with(lines(args.log_format)).init(),
        Some(export_guard) => {
            let lines = lines(args.log_format).with_filter(filter);
            registry().with(lines).with(export_guard.layer()).init();
        }
    }
    metrics_handle();
    if export_guard.is_some() {
        export::describe();
    }
    crate::process::disable_core_dumps();
    Ok(Telemetry {
        _export_guard: export_guard,
    })
}

/// Returns the layer that writes log lines.
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        // It would report them on standard error, too, and panic when that is closed: a service then could not shut down.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().map_event_format(WithIds).boxed(),
    }
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
        repeat(UPKEEP_EVERY, move || kept.run_upkeep());
        handle
    })
}

/// A histogram keeps every sample until it is rendered or upkeep runs, and may never be rendered.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Runs `upkeep` at this interval in a thread of its own, until the process ends.
fn repeat(every: Duration, upkeep: impl Fn() + Send + 'static) {
    let looping = move || {
        loop {
            std::thread::park_timeout(every);
            upkeep();
        }
    };
    std::thread::Builder::new()
        .name(UPKEEP_THREAD.to_owned())
        .spawn(looping)
        .expect("a thread starts");
}

const UPKEEP_THREAD: &str = "metrics";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;

    use super::*;

    /// Without a scrape they kept every sample, and a service grew for as long as it ran.
    #[tokio::test]
    async fn histograms_are_drained_although_nothing_scrapes_them() {
        metrics_handle();
        let (sender, drained) = mpsc::channel();
        repeat(Duration::from_millis(1), move || {
            // The test may have ended.
            let _ = sender.send(());
        });
        for _ in 0..3 {
            drained.recv_timeout(testkit::TIMEOUT).unwrap();
        }
        // A thread names itself when it begins.
        testkit::eventually("the recorder has such a thread, too", async || {
            let threads = fs::read_dir("/proc/self/task").unwrap();
            let names = threads.map(|it| fs::read_to_string(it.unwrap().path().join("comm")));
            // A thread may end meanwhile.
            let upkeep = names
                .filter_map(Result::ok)
                .filter(|name| name.trim() == UPKEEP_THREAD);
            upkeep.count() == 2
        })
        .await;
    }
}
