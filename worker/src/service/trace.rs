//! A job's spans in the trace of its request.

use std::time::Duration;

use platform::queue::Message;
use platform::telemetry::trace::{self, Kind};
use platform::trace_span;
use proto::JobId;
use tracing::Span;
use tracing::field::Empty;

use super::inference::InferenceError;
use crate::vision::Recognized;

/// A received message, and the job in it.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Empty outside of traces.
    pub traceparent: &'a str,
    pub request_id: JobId,
    /// The name of the request queue.
    pub queue: &'a str,
    pub instance_id: &'a str,
    pub message: &'a Message,
}

/// Returns the span of a job's processing. Adds one for the time that its message has waited in the queue, by the queue's
/// clock. It is sent at once, so that a trace shows also the jobs of workers that died.
pub fn of_job(received: Received<'_>) -> Span {
    if !trace::is_on() {
        return Span::none();
    }
    let Received {
        traceparent,
        queue,
        instance_id,
        message,
        ..
    } = received;
    // Only the first receive ends the wait that SQS tells.
    let is_first = message.receive_count == 1;
    let waited = if is_first {
        message.waited
    } else {
        Duration::ZERO
    };
    let attributes = [
        ("messaging.system", "aws_sqs"),
        ("messaging.destination.name", queue),
        ("messaging.operation.name", "receive"),
        ("messaging.operation.type", "receive"),
        ("host.id", instance_id),
    ];
    trace::ended_now(
        "receive job",
        Kind::Consumer,
        traceparent,
        waited,
        &attributes,
    );
    let span = trace_span!(
        "process job",
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = "aws_sqs",
        messaging.destination.name = queue,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.message.body.size = message.body.len(),
        host.id = instance_id,
        muster.request_id = %received.request_id,
        muster.receive_count = message.receive_count,
        muster.outcome = Empty,
    );
    trace::continue_trace(&span, Some(traceparent));
    span
}

/// Returns the span of a reply's send.
pub fn of_reply(queue: &str) -> Span {
    trace_span!(
        "send reply",
        otel.kind = "producer",
        messaging.system = "aws_sqs",
        messaging.destination.name = queue,
        messaging.operation.name = "send",
        messaging.operation.type = "send",
    )
}

/// Adds spans for the stages of a recognition that has just ended. Of photos that were recognized together, each has its
/// share of the time.
pub fn note_stages(recognized: &Result<Recognized, InferenceError>) {
    if let Ok(Recognized { timings, .. }) = recognized {
        trace::stages(&[
            ("decode", timings.decode),
            ("detect", timings.detect),
            ("embed", timings.embed),
            ("match", timings.matching),
        ]);
    }
}

/// Records on the current span how its job ended.
pub fn note_outcome(label: &str, is_error: bool) {
    let span = Span::current();
    span.record("muster.outcome", label);
    if is_error {
        span.record("otel.status_code", "error");
    }
}
