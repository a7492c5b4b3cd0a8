//! Answers 500 when a handler panics. Answer and log line have the same id.

use std::any::Any;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use proto::JobId;
use tower::{Layer, Service};
use tower_http::catch_panic::CatchPanicLayer;

use super::response::ResponseFormat;
use crate::error::{ErrorCode, RequestError};

/// Gives each request an id, which its handler finds as an extension, and runs the handler. Ids that a client sends are
/// ignored.
pub async fn catch_panic(mut request: Request, next: Next) -> Response {
    let id = JobId::random();
    let format = ResponseFormat::accepted_by(request.headers());
    request.extensions_mut().insert(id);
    let answer = move |panic: Box<dyn Any + Send>| panicked(&*panic, format, id);
    let mut handler = CatchPanicLayer::custom(answer).layer(next);
    match handler.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// The panic hook logs where the panic is, but not of which request.
fn panicked(panic: &(dyn Any + Send), format: ResponseFormat, id: JobId) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let message = text.or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error_span!("request", request_id = %id)
        .in_scope(|| tracing::error!(panic = message, "a handler panicked"));
    let error = RequestError::new(ErrorCode::Internal, "the request failed");
    format.error(&error, Some(id))
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use platform::http::{ConnectionLimits, serve};
    use tokio_util::sync::CancellationToken;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::super::layered;
    use super::*;

    /// Notes the request ids of errors that are logged.
    #[derive(Debug, Clone, Default)]
    struct Log(Arc<Mutex<Noted>>);

    #[derive(Debug, Default)]
    struct Noted {
        /// The request id of each span, by the span's id less 1.
        spans: Vec<String>,
        entered: Vec<u64>,
        errors: Vec<String>,
    }

    /// The value of the field `request_id`.
    #[derive(Debug, Default)]
    struct RequestId(String);

    impl Visit for RequestId {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "request_id" {
                self.0 = format!("{value:?}");
            }
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("gateway")
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut id = RequestId::default();
            span.record(&mut id);
            let mut noted = self.0.lock().unwrap();
            noted.spans.push(id.0);
            Id::from_u64(noted.spans.len() as u64)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut noted = self.0.lock().unwrap();
            if *event.metadata().level() == Level::ERROR {
                let span = noted.entered.last().expect("it is in a span");
                let id = noted.spans[*span as usize - 1].clone();
                noted.errors.push(id);
            }
        }

        fn enter(&self, span: &Id) {
            self.0.lock().unwrap().entered.push(span.into_u64());
        }

        fn exit(&self, _: &Id) {
            self.0.lock().unwrap().entered.pop();
        }
    }

    async fn panicking() -> &'static str {
        panic!("as a handler with a bug")
    }

    /// Serves a handler that panics at `/bad`, and one that does not at `/good`.
    async fn served() -> (String, tokio_util::sync::DropGuard) {
        let routes = Router::new()
            .route("/bad", get(panicking))
            .route("/good", get(async || "hello"));
        let (listener, url) = testkit::listen().await;
        let limits = testkit::parse::<ConnectionLimits>(&[]);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone().drop_guard();
        let routes = layered(routes, "http");
        tokio::spawn(async move { serve(listener, None, routes, &limits, shutdown).await });
        (url, stop)
    }

    /// The answer had an id that no log line has. One test for all answers: a thread without a subscriber that meets the log
    /// line first disables it for this one.
    #[tokio::test]
    async fn the_answer_of_a_panic_has_the_id_of_its_log_line_and_the_service_lives() {
        let log = Log::default();
        // The server's tasks run on this thread.
        let _logging = tracing::subscriber::set_default(log.clone());
        let (url, _stop) = served().await;
        let client = testkit::http_client();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let request = client.get(format!("{url}/bad"));
            let request = request.header("accept", "application/json");
            // A client cannot choose it.
            let request = request.header("x-request-id", JobId::random().to_string());
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let header = answer.headers()["x-request-id"]
                .to_str()
                .unwrap()
                .to_owned();
            let body: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(body["error"]["code"], ErrorCode::Internal.name());
            assert_eq!(body["error"]["request_id"], header);
            ids.push(header);
        }
        assert_eq!(log.0.lock().unwrap().errors, ids);
        assert_ne!(ids[0], ids[1]);
        let bad = client.get(format!("{url}/bad")).send().await.unwrap();
        let text = bad.text().await.unwrap();
        assert!(text.contains("the request failed"), "{text}");
        let good = client.get(format!("{url}/good")).send().await.unwrap();
        assert_eq!(good.text().await.unwrap(), "hello");
    }
}
