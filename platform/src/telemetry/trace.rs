//! Spans of OpenTelemetry traces: one trace for each photo, from the gateway to the worker and back.
//!
//! A span is made by [`trace_span!`](crate::trace_span), an ordinary span of the crate `tracing` with a target of its own.
//! Without a collector it is disabled, and costs one load of a static. Log lines are never part of a trace: they may name
//! files, which are personal data.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::{Extractor, TextMapPropagator};
pub use opentelemetry::trace::SpanKind as Kind;
use opentelemetry::trace::{Span as _, SpanBuilder, TraceContextExt, TraceId, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header of W3C's Trace Context, <https://www.w3.org/TR/trace-context/>.
pub const TRACEPARENT: &str = "traceparent";

/// The target of all spans of traces.
pub const TARGET: &str = "muster_trace";

/// Makes a span of a trace: a name, then fields. `otel.kind` is server, client, producer or consumer; other fields become
/// attributes, named by OpenTelemetry's semantic conventions or beginning with `muster.`.
#[macro_export]
macro_rules! trace_span {
    ($($name_and_fields:tt)*) => {
        tracing::trace_span!(target: $crate::telemetry::trace::TARGET, $($name_and_fields)*)
    };
}

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

pub(super) fn turn_on(tracer: SdkTracer) {
    // Set once: `init` runs once.
    let _ = TRACER.set(tracer);
}

/// Returns whether traces are sent to a collector.
#[must_use]
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// Makes `span` part of the trace of a `traceparent`; one that is missing or invalid begins a new trace. Call it before the
/// span is entered.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    // It fails only for a span that was entered.
    let _ = span.set_parent(remote(traceparent));
}

/// Returns a context whose span is the caller's, or one without a span.
fn remote(traceparent: Option<&str>) -> Context {
    let carrier = TraceparentCarrier(traceparent);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

/// Returns the `traceparent` for what is called from here, or `None` outside of traces.
#[must_use]
pub fn traceparent() -> Option<String> {
    let context = current()?;
    let (span, mut carrier) = (context.span(), std::collections::HashMap::new());
    if !span.span_context().is_valid() {
        return None;
    }
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Returns the id of the current trace, for log lines.
#[must_use]
pub fn trace_id() -> Option<TraceId> {
    let id = current()?.span().span_context().trace_id();
    (id != TraceId::INVALID).then_some(id)
}

/// Adds a span that has lasted until now to the trace of a `traceparent`. Without a valid one it adds nothing.
pub fn ended_now(
    name: &'static str,
    kind: Kind,
    traceparent: &str,
    lasted: Duration,
    attributes: &[(&'static str, &str)],
) {
    let parent = remote(Some(traceparent));
    let Some(tracer) = TRACER.get().filter(|_| parent.has_active_span()) else {
        return;
    };
    let attributes = attributes
        .iter()
        .map(|(name, value)| KeyValue::new(*name, (*value).to_owned()));
    let builder = tracer
        .span_builder(name)
        .with_kind(kind)
        .with_attributes(attributes);
    add(tracer, builder, &parent, lasted, SystemTime::now());
}

/// Adds finished spans to the current one: stages that followed each other and of which the last has just ended.
pub fn stages(stages: &[(&'static str, Duration)]) {
    let Some((tracer, parent)) = TRACER.get().zip(current()) else {
        return;
    };
    let mut end = SystemTime::now();
    for (name, lasted) in stages.iter().rev() {
        add(tracer, tracer.span_builder(*name), &parent, *lasted, end);
        end -= *lasted;
    }
}

fn add(
    tracer: &SdkTracer,
    builder: SpanBuilder,
    parent: &Context,
    lasted: Duration,
    end: SystemTime,
) {
    let builder = builder.with_start_time(end - lasted);
    let mut span = builder.start_with_context(tracer, parent);
    span.end_with_timestamp(end);
}

/// Returns the context of the innermost span that is entered, or `None` while there are no traces.
fn current() -> Option<Context> {
    is_on().then(Context::current)
}

/// A `traceparent` as a propagator reads it.
struct TraceparentCarrier<'a>(Option<&'a str>);

impl Extractor for TraceparentCarrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.filter(|_| key == TRACEPARENT)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}
