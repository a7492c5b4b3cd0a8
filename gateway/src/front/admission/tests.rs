use axum::http::HeaderMap;
use futures::poll;

use super::*;

const MAX_MESSAGE_BYTES: usize = 1000;

/// Reads the message, and returns the number of its bytes as the status' message.
#[derive(Clone)]
struct Reader;

impl Service<Request<Body>> for Reader {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async {
            let permit = request.extensions().get::<AdmissionPermit>().cloned();
            let body = axum::body::Body::new(request.into_body());
            let read = axum::body::to_bytes(body, usize::MAX).await;
            drop(permit.expect("the call was admitted"));
            let status = match read {
                Ok(bytes) => Status::ok(bytes.len().to_string()),
                Err(error) => Status::from_error(Box::new(error)),
            };
            Ok(status.into_http())
        })
    }
}

fn control(max_in_flight: usize, max_buffered_bytes: usize) -> AdmissionControl<Reader> {
    AdmissionControl::new(Reader, max_in_flight, max_buffered_bytes, MAX_MESSAGE_BYTES)
}

fn prefix(length: u32) -> Bytes {
    let mut prefix = vec![0];
    prefix.extend_from_slice(&length.to_be_bytes());
    prefix.into()
}

fn body_of(chunks: Vec<Bytes>) -> Body {
    let chunks = stream::iter(chunks.into_iter().map(Ok::<_, Infallible>));
    Body::new(axum::body::Body::from_stream(chunks))
}

/// Returns a message in pieces, as a connection may split it.
fn message(length: usize) -> Body {
    let prefix = prefix(u32::try_from(length).unwrap());
    let body = Bytes::from(vec![7; length]);
    body_of(vec![prefix.slice(..2), prefix.slice(2..), body])
}

/// Returns the body of a client that announces a message and sends nothing of it.
fn stalling(length: u32) -> Body {
    let prefix = stream::once(async move { Ok::<_, Infallible>(prefix(length)) });
    Body::new(axum::body::Body::from_stream(
        prefix.chain(stream::pending()),
    ))
}

fn call(control: &AdmissionControl<Reader>, body: Body) -> BoxFuture<Response<Body>, Infallible> {
    control.clone().call(Request::new(body))
}

#[track_caller]
fn assert_status(response: &Response<Body>, grpc_status: &str, code: Option<&str>) {
    let headers: &HeaderMap = response.headers();
    assert_eq!(headers["grpc-status"], grpc_status, "{headers:?}");
    let found = headers
        .get("muster-error-code")
        .map(|value| value.to_str().unwrap());
    assert_eq!(found, code);
}

#[tokio::test]
async fn a_message_passes_whole() {
    let response = call(&control(1, 700), message(700)).await.unwrap();
    assert_status(&response, "0", None);
    assert_eq!(response.headers()["grpc-message"], "705");
}

#[tokio::test]
async fn a_call_is_in_flight_before_its_message_is_read() {
    let control = control(1, 1000);
    let mut first = call(&control, stalling(10));
    assert!(poll!(&mut first).is_pending());
    let refused = call(&control, message(10)).await.unwrap();
    assert_status(&refused, "8", Some("overloaded"));
    assert_eq!(refused.headers()["retry-after"], "2");
    drop(first);
    assert_status(&call(&control, message(10)).await.unwrap(), "0", None);
}

#[tokio::test]
async fn a_call_waits_for_the_memory_that_its_message_needs() {
    let control = control(10, 1000);
    let mut first = call(&control, stalling(600));
    assert!(poll!(&mut first).is_pending());
    let mut second = call(&control, message(600));
    assert!(poll!(&mut second).is_pending(), "600 and 600 are too many");
    drop(first);
    assert_status(&second.await.unwrap(), "0", None);
}

#[tokio::test]
async fn a_message_that_never_fits_is_refused_at_once() {
    let refused = call(&control(1, 100), message(101)).await.unwrap();
    assert_status(&refused, "8", Some("overloaded"));
    let length = u32::try_from(MAX_MESSAGE_BYTES).unwrap() + 1;
    let refused = call(&control(1, 5000), body_of(vec![prefix(length)])).await;
    assert_status(&refused.unwrap(), "3", Some("too_large"));
}

#[tokio::test]
async fn a_second_message_is_not_read() {
    let first = [&prefix(3)[..], b"one"].concat();
    let second = [&prefix(3)[..], b"two"].concat();
    for chunks in [
        vec![[&first[..], &second].concat()],
        vec![first.clone(), second.clone()],
    ] {
        let body = body_of(chunks.into_iter().map(Bytes::from).collect());
        let refused = call(&control(1, 100), body).await.unwrap();
        assert_status(&refused, "3", Some("bad_request"));
    }
}

#[tokio::test]
async fn a_client_that_stalls_is_refused() {
    let mut control = control(1, 100);
    control.limits.upload_timeout = Duration::from_millis(20);
    let stalled = call(&control, stalling(100)).await.unwrap();
    assert_status(&stalled, "10", Some("upload_too_slow"));
    let silent = axum::body::Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let silent = call(&control, Body::new(silent)).await.unwrap();
    assert_status(&silent, "10", Some("upload_too_slow"));
    assert_status(&call(&control, message(100)).await.unwrap(), "0", None);
}

#[tokio::test]
async fn a_call_does_not_wait_for_memory_forever() {
    let mut control = control(1, 100);
    control.limits.upload_timeout = Duration::from_millis(20);
    let held = control.limits.memory.reserve(1).unwrap();
    let refused = call(&control, message(100)).await.unwrap();
    assert_status(&refused, "8", Some("overloaded"));
    drop(held);
    assert_status(&call(&control, message(100)).await.unwrap(), "0", None);
}
