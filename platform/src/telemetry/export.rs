//! Sends spans to a collector, from a thread and a queue of their own: no request ever waits for it.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, Key};
use opentelemetry_otlp::WithTonicConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter,
    SpanProcessor,
};
use tokio::runtime::{Handle, Runtime};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::trace;
use crate::tls::PeerTlsArgs;

/// Spans that wait to be sent. Further ones are dropped and counted.
const LONGEST_QUEUE: usize = 2048;
/// Between two exports, unless OTEL_BSP_SCHEDULE_DELAY says otherwise.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest time of one export, retries included.
const EXPORT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time for the last spans, at the end of the process.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

crate::metric_table! {
    SPANS: Counter "muster_trace_spans_total" [outcome] Count,
        "Spans of traces: sent, dropped because too many wait, or failed because the collector did not take them";
}

/// The spans' way to the collector. Drop sends those that wait, and gives up after [`FLUSH_DEADLINE`].
#[derive(Debug)]
pub struct ExportGuard {
    provider: SdkTracerProvider,
    /// Of its own: some services have one thread, which must not wait for itself. `None` only in drop.
    runtime: Option<Runtime>,
}

/// Returns the collector's URL, or `None` where OpenTelemetry's variables turn traces off.
pub fn endpoint(given: Option<&str>) -> Option<String> {
    let is = |name, value: &str| env::var(name).is_ok_and(|it| it.eq_ignore_ascii_case(value));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    let of_traces = env::var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").ok();
    let endpoint = of_traces.or_else(|| given.map(str::to_owned));
    endpoint.filter(|url| !url.is_empty())
}

impl ExportGuard {
    /// Starts to send the spans of `service` to the collector at `endpoint`.
    ///
    /// # Errors
    /// When the URL cannot be parsed, or a certificate cannot be read.
    pub fn start(service: &str, endpoint: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()?;
        let channel = {
            let _entered = runtime.enter();
            let channel = crate::channel::channel(endpoint, &tls());
            channel.with_context(|| format!("cannot send traces to {endpoint}"))?
        };
        let sender = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_channel(channel)
            .build()?;
        let queued = Arc::new(AtomicUsize::new(0));
        let exporter = Exporter {
            sender: Arc::new(sender),
            runtime: runtime.handle().clone(),
            endpoint: endpoint.to_owned(),
            queued: Arc::clone(&queued),
            is_failing: AtomicBool::new(false),
        };
        let mut batches = BatchConfigBuilder::default().with_max_queue_size(LONGEST_QUEUE);
        if env::var_os("OTEL_BSP_SCHEDULE_DELAY").is_none() {
            batches = batches.with_scheduled_delay(INTERVAL);
        }
        let processor = Bounded {
            batches: BatchSpanProcessor::builder(exporter)
                .with_batch_config(batches.build())
                .build(),
            queued,
        };
        // The sampler is the one of OTEL_TRACES_SAMPLER.
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(service))
            .with_span_processor(processor)
            .build();
        trace::turn_on(provider.tracer("muster"));
        Ok(Self {
            provider,
            runtime: Some(runtime),
        })
    }

    /// Returns the layer that makes OpenTelemetry's spans of those of [`trace::TARGET`].
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let is_of_trace = |it: &Metadata<'_>| it.is_span() && it.target() == trace::TARGET;
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("muster"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_of_trace))
    }
}

impl Drop for ExportGuard {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_DEADLINE) {
            tracing::debug!(%error, "the last spans were not sent");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Returns the service's attributes; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
fn resource(service: &str) -> Resource {
    let named = Resource::builder().build().get(&Key::new("service.name"));
    let is_named = named.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let resource = Resource::builder();
    if is_named {
        return resource.build();
    }
    resource
        .with_service_name(format!("muster-{service}"))
        .build()
}

/// Returns the certificates for a collector with an https URL.
fn tls() -> PeerTlsArgs {
    let file = |name| env::var_os(name).map(Into::into);
    PeerTlsArgs {
        peer_ca: file("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        peer_cert: file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
        peer_key: file("OTEL_EXPORTER_OTLP_CLIENT_KEY"),
    }
}

/// A batch processor that counts the spans it drops.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    queued: Arc<AtomicUsize>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.queued.fetch_add(1, Ordering::Relaxed) < LONGEST_QUEUE {
            self.batches.on_end(span);
        } else {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            SPANS.of("dropped").increment(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Sends batches on the runtime, counts them, and logs only the first of several failures.
#[derive(Debug)]
struct Exporter {
    sender: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    endpoint: String,
    queued: Arc<AtomicUsize>,
    is_failing: AtomicBool,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.queued.fetch_sub(count, Ordering::Relaxed);
        let sender = Arc::clone(&self.sender);
        let sending = self.runtime.spawn(async move {
            let sending = tokio::time::timeout(EXPORT_DEADLINE, sender.export(batch));
            sending
                .await
                .unwrap_or(Err(OTelSdkError::Timeout(EXPORT_DEADLINE)))
        });
        let sent = sending
            .await
            .unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        let outcome = if sent.is_ok() { "sent" } else { "failed" };
        SPANS.of(outcome).increment(count as u64);
        let (endpoint, was_failing) = (
            &self.endpoint,
            self.is_failing.swap(sent.is_err(), Ordering::Relaxed),
        );
        match &sent {
            Err(error) if !was_failing => {
                tracing::warn!(endpoint, %error, "traces cannot be sent; further failures are only counted");
            }
            Ok(()) if was_failing => tracing::info!(endpoint, "traces are sent again"),
            _ => {}
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Nothing is being sent yet.
        if let Some(sender) = Arc::get_mut(&mut self.sender) {
            sender.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_lists_every_metric() {
        let rows = crate::metric::markdown(super::TABLE);
        testkit::assert_generated("docs/watching.md", "traces", &rows);
    }
}
