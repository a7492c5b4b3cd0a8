use std::time::Duration;

use crate::photos::photo;
use crate::stack::{Answer, Stack, deployment};
use crate::worker::{Worker, recognize};
use gateway::{front, http};
use testkit::{LocalCloud, eventually, http_client, listen, parse};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn without_front_the_gateway_is_healthy_and_not_ready() {
    let (_, closed) = listen().await;
    let (listener, url) = listen().await;
    let stop = CancellationToken::new();
    let config = http::Config {
        front: closed,
        front_wait: Duration::from_millis(1),
        ..parse(&[])
    };
    let gateway = tokio::spawn(http::run(config, listener, stop.clone()));
    let client = http_client();
    let status = async |path: &str| Answer::of(client.get(format!("{url}{path}"))).await.status;
    assert_eq!(status("/healthz").await, 200);
    assert_eq!(status("/readyz").await, 503);
    // Only the administration address serves metrics.
    assert_eq!(status("/metrics").await, 404);
    let form = testkit::upload("a.jpg", photo(1));
    let answer = Answer::of(client.post(&url).multipart(form)).await;
    answer.assert_refused(503, "cannot be reached");
    assert_eq!(answer.header("retry-after"), "5");
    stop.cancel();
    gateway.await.unwrap().unwrap();
}

#[tokio::test]
async fn front_waits_for_a_cloud_that_starts_later() {
    let (cloud, cloud_url) = listen().await;
    let stack = Stack::in_cloud(&cloud_url, |_, _| {}).await;
    eventually("front answers", || async {
        let answer = stack.post("a.jpg", &photo(1)).await;
        answer.status == 503 && answer.body.contains("starting")
    })
    .await;
    assert_eq!(stack.status_of("/readyz").await, 503);
    let _cloud = LocalCloud::serve(localcloud::Config::default(), cloud);
    stack.until_ready().await;
    let _worker = Worker::recognizing(&stack).await;
    recognize(&stack, "a.jpg", 1).await;
}

#[tokio::test]
async fn a_gateway_whose_front_is_gone_is_not_ready() {
    let stack = Stack::start().await;
    stack.stop_front.cancel();
    eventually("the gateway is not ready", || async {
        stack.status_of("/readyz").await == 503
    })
    .await;
    assert_eq!(stack.status_of("/healthz").await, 200);
}

/// Starts a gateway for `front`. Returns its URL and the token that stops it.
async fn gateway(front: String) -> (String, CancellationToken) {
    let (listener, url) = listen().await;
    let stop = CancellationToken::new();
    let config = http::Config {
        front,
        ..parse(&[])
    };
    tokio::spawn(http::run(config, listener, stop.clone()));
    (url, stop)
}

async fn post(url: String) -> Answer {
    let form = testkit::upload("a.jpg", photo(1));
    Answer::of(http_client().post(&url).multipart(form)).await
}

#[tokio::test]
async fn a_request_waits_for_a_front_that_restarts() {
    let (listener, front_url) = listen().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (url, stop) = gateway(front_url).await;
    let _stop = stop.clone().drop_guard();
    let mut answer = tokio::spawn(post(url));
    let waits = tokio::time::timeout(Duration::from_millis(500), &mut answer).await;
    assert!(waits.is_err(), "it did not wait: {waits:?}");
    let listener = platform::admin::bind(address).await.unwrap();
    let nowhere = deployment("http://127.0.0.1:1").await;
    tokio::spawn(front::run(parse(&[]), nowhere, listener, stop.clone()));
    let answer = answer.await.unwrap();
    // Front's own error: it has no cloud.
    answer.assert_refused(503, "starting");
}

#[tokio::test]
async fn a_request_in_flight_fails_when_front_dies() {
    let (listener, front_url) = listen().await;
    let (url, stop) = gateway(front_url).await;
    let _stop = stop.drop_guard();
    let dying = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // More bytes than a health check: the photo arrived.
        let mut received = 0;
        while received < photo(1).len() {
            received += stream.read(&mut [0; 4096]).await.unwrap();
        }
    };
    let (answer, ()) = futures::join!(post(url.clone()), dying);
    answer.assert_refused(503, "broke before the answer came");
    assert_eq!(answer.header("retry-after"), "5");
}
