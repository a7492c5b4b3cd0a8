//! The spans of requests to a server, for [`TraceLayer`](tower_http::trace::TraceLayer). They continue the caller's trace.

use std::time::Duration;

use http::{HeaderMap, Request, Response, Version};
use tower_http::trace::{DefaultMakeSpan, DefaultOnResponse, MakeSpan, OnResponse};
use tracing::Span;
use tracing::field::Empty;

use super::trace::{TRACEPARENT, continue_trace, is_on};
use crate::trace_span;

/// Returns the span of an HTTP request to `route`, at a server that is called by `scheme`.
pub fn http_span<B>(request: &Request<B>, route: &'static str, scheme: &'static str) -> Span {
    if !is_on() {
        return default_span(request);
    }
    let method = request.method().as_str();
    let span = trace_span!(
        "HTTP request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        url.path = route,
        url.scheme = scheme,
        network.protocol.version = version(request.version()),
        http.response.status_code = Empty,
        muster.request_id = Empty,
    );
    continue_trace(&span, sent_traceparent(request.headers()));
    span
}

/// Records the status of an HTTP response.
pub fn note_http_status<B>(response: &Response<B>, latency: Duration, span: &Span) {
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "error");
    }
    DefaultOnResponse::default().on_response(response, latency, span);
}

/// Returns the span of a gRPC call. Only calls of `service` are part of traces: others are streams that last for hours,
/// or polls.
pub fn rpc_span<B>(request: &Request<B>, service: &'static str) -> Span {
    let called = request.uri().path().strip_prefix('/');
    let method = called.and_then(|path| path.strip_prefix(service)?.strip_prefix('/'));
    let Some(method) = method.filter(|_| is_on()) else {
        return default_span(request);
    };
    let span = trace_span!(
        "gRPC call",
        otel.name = called,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        muster.request_id = Empty,
    );
    continue_trace(&span, sent_traceparent(request.headers()));
    span
}

/// Records the status of a unary gRPC call. An error comes with the head of the response.
pub fn note_rpc_status<B>(response: &Response<B>, latency: Duration, span: &Span) {
    let status = response.headers().get("grpc-status");
    let status = status.and_then(|it| it.to_str().ok()?.parse().ok());
    let code = status.unwrap_or(0);
    span.record("rpc.grpc.status_code", code);
    // The conventions count only a server's own faults: unknown, deadline exceeded, unimplemented, internal, unavailable,
    // data loss.
    if matches!(code, 2 | 4 | 12..=15) {
        span.record("otel.status_code", "error");
    }
    DefaultOnResponse::default().on_response(response, latency, span);
}

fn default_span<B>(request: &Request<B>) -> Span {
    DefaultMakeSpan::new().make_span(request)
}

/// Two of them are as invalid as none.
fn sent_traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut sent = headers.get_all(TRACEPARENT).iter();
    let first = sent.next()?.to_str().ok();
    first.filter(|_| sent.next().is_none())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_single_traceparent_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(sent_traceparent(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static("00-1-2-01"));
        assert_eq!(sent_traceparent(&headers), Some("00-1-2-01"));
        headers.append(TRACEPARENT, HeaderValue::from_static("00-3-4-01"));
        assert_eq!(sent_traceparent(&headers), None);
    }
}
