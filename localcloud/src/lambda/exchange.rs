//! What localcloud and a function's runtime exchange over the Runtime API.
//!
//! Source: "Using the Lambda runtime API for custom runtimes",
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::browser::is_cross_site;

const API: &str = "/2018-06-01/runtime/";
/// AWS's limit on a response, in bytes.
const MAX_RESPONSE: usize = 6 << 20;

/// An invocation as the runtime receives it.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub request_id: String,
    pub payload: Bytes,
    /// Milliseconds since the Unix epoch.
    pub deadline: u64,
    pub function_arn: String,
}

/// What the runtime returns for an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Response(Bytes),
    /// A JSON object with `errorMessage` and `errorType`.
    Error(Bytes),
    InitError(Bytes),
}

/// The Runtime API of one environment, on a port of its own. Dropping it closes the port.
#[derive(Debug)]
pub struct RuntimeApi {
    pub address: SocketAddr,
    exchange: Arc<Exchange>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Exchange {
    state: Mutex<ExchangeState>,
    /// The runtime asks for an event, or has answered.
    asked: Notify,
    /// There is an event for the runtime.
    handed: Notify,
}

#[derive(Debug, Default)]
struct ExchangeState {
    invocation: Option<Invocation>,
    /// The invocation that the runtime works on.
    current: Option<String>,
    answer: Option<Answer>,
    waits: bool,
}

impl RuntimeApi {
    pub async fn open() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let exchange = Arc::new(Exchange::default());
        let server = tokio::spawn(serve(listener, Arc::clone(&exchange)));
        Ok(Self {
            address,
            exchange,
            server,
        })
    }

    /// Gives the runtime an event.
    pub fn hand_over(&self, invocation: Invocation) {
        let mut state = self.exchange.lock();
        state.answer = None;
        state.invocation = Some(invocation);
        drop(state);
        self.exchange.handed.notify_one();
    }

    /// Returns when the runtime waits for an event; with an error if its initialization failed.
    pub async fn waits(&self) -> Result<(), Bytes> {
        loop {
            {
                let mut state = self.exchange.lock();
                if let Some(Answer::InitError(error)) = &state.answer {
                    return Err(error.clone());
                }
                if state.waits && state.invocation.is_none() {
                    state.answer = None;
                    return Ok(());
                }
            }
            self.exchange.asked.notified().await;
        }
    }

    /// Returns what the runtime answers to the event that it has.
    pub async fn answered(&self) -> Answer {
        loop {
            if let Some(answer) = self.exchange.lock().answer.take() {
                return answer;
            }
            self.exchange.asked.notified().await;
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, ExchangeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next(&self) -> Invocation {
        let waiting = Waiting(self);
        self.lock().waits = true;
        self.asked.notify_one();
        loop {
            {
                let mut state = self.lock();
                if let Some(invocation) = state.invocation.take() {
                    state.current = Some(invocation.request_id.clone());
                    drop(state);
                    drop(waiting);
                    return invocation;
                }
            }
            self.handed.notified().await;
        }
    }

    /// Takes an answer. False if it is not for the present invocation.
    fn answer(&self, request_id: &str, answer: Answer) -> bool {
        let mut state = self.lock();
        if state.current.as_deref() != Some(request_id) {
            return false;
        }
        state.current = None;
        state.answer = Some(answer);
        drop(state);
        self.asked.notify_one();
        true
    }

    fn fail_init(&self, error: Bytes) {
        self.lock().answer = Some(Answer::InitError(error));
        self.asked.notify_one();
    }
}

/// The runtime waits, until it has an event or is gone.
struct Waiting<'a>(&'a Exchange);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waits = false;
    }
}

async fn serve(listener: TcpListener, exchange: Arc<Exchange>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let exchange = Arc::clone(&exchange);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let exchange = Arc::clone(&exchange);
                async move { Ok::<_, Infallible>(handle(&exchange, request).await) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        // Connections that have ended.
        while connections.try_join_next().is_some() {}
    }
}

async fn handle(exchange: &Exchange, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    // The port is one of a loopback address.
    if is_cross_site(&parts.headers, true) {
        return status(StatusCode::FORBIDDEN);
    }
    let Some(path) = parts.uri.path().strip_prefix(API) else {
        return status(StatusCode::NOT_FOUND);
    };
    if parts.method == Method::GET && path == "invocation/next" {
        return invocation_response(exchange.next().await);
    }
    if parts.method != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(body) = Limited::new(body, MAX_RESPONSE).collect().await else {
        let message = format!(
            "Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes)."
        );
        let error = serde_json::json!({
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": message,
        });
        if let Some(("invocation", rest)) = path.split_once('/') {
            let id = rest.split('/').next().unwrap_or_default();
            exchange.answer(id, Answer::Error(error.to_string().into()));
        }
        return status(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let body = body.to_bytes();
    let parts: Vec<&str> = path.split('/').collect();
    let is_taken = match parts.as_slice() {
        ["init", "error"] => {
            exchange.fail_init(body);
            true
        }
        ["invocation", id, "response"] => exchange.answer(id, Answer::Response(body)),
        ["invocation", id, "error"] => exchange.answer(id, Answer::Error(body)),
        _ => return status(StatusCode::NOT_FOUND),
    };
    if is_taken {
        status(StatusCode::ACCEPTED)
    } else {
        status(StatusCode::FORBIDDEN)
    }
}

fn invocation_response(invocation: Invocation) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(invocation.payload));
    let headers = response.headers_mut();
    let trace = format!(
        "Root=1-{:08x}-{};Sampled=0",
        invocation.deadline / 1000,
        &invocation.request_id.replace('-', "")[..24]
    );
    for (name, value) in [
        ("content-type", "application/json"),
        (
            "lambda-runtime-aws-request-id",
            invocation.request_id.as_str(),
        ),
        (
            "lambda-runtime-deadline-ms",
            &invocation.deadline.to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            &invocation.function_arn,
        ),
        ("lambda-runtime-trace-id", &trace),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let text = format!(
        r#"{{"status":"{}"}}"#,
        status.canonical_reason().unwrap_or("OK")
    );
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
