//! A stand-in for Lambda's call Invoke that passes events to a function in the test's process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use lambda::function::Function;
use testkit::listen;

use crate::cloud::invocation;

#[derive(Clone)]
pub struct StandIn {
    pub url: String,
    state: Arc<Invoked>,
}

struct Invoked {
    /// `None`: Lambda knows no function.
    function: Option<Function>,
    /// Requests that are throttled before one is accepted.
    throttles: AtomicUsize,
    accepted: AtomicUsize,
    throttled: AtomicUsize,
}

impl StandIn {
    pub async fn start(function: impl Into<Option<Function>>, throttles: usize) -> Self {
        let state = Arc::new(Invoked {
            function: function.into(),
            throttles: AtomicUsize::new(throttles),
            accepted: AtomicUsize::new(0),
            throttled: AtomicUsize::new(0),
        });
        let (listener, url) = listen().await;
        let path = "/2015-03-31/functions/{name}/invocations";
        let router = Router::new()
            .route(path, post(invoke))
            .with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    pub fn throttled(&self) -> usize {
        self.state.throttled.load(Ordering::SeqCst)
    }
}

async fn invoke(
    State(state): State<Arc<Invoked>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if headers["x-amz-invocation-type"] != "Event" {
        return refusal(StatusCode::BAD_REQUEST, "InvalidParameterValueException");
    }
    if state.function.is_none() || name != "face-recognition" {
        return refusal(StatusCode::NOT_FOUND, "ResourceNotFoundException");
    }
    let throttle = |left: usize| left.checked_sub(1);
    let throttles = &state.throttles;
    if throttles
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, throttle)
        .is_ok()
    {
        state.throttled.fetch_add(1, Ordering::SeqCst);
        return refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException");
    }
    state.accepted.fetch_add(1, Ordering::SeqCst);
    tokio::spawn(async move {
        let function = state.function.as_ref().expect("checked above");
        let event = serde_json::from_str(&body).unwrap();
        function.call(event, &invocation("recognition")).await
    });
    StatusCode::ACCEPTED.into_response()
}

fn refusal(status: StatusCode, kind: &'static str) -> Response {
    let body = format!(r#"{{"Type": "User", "message": "{kind}"}}"#);
    (status, [("x-amzn-errortype", kind)], body).into_response()
}
