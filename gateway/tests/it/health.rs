use crate::photos::photo;
use crate::stack::{Answer, Stack, bind, defaults, eventually, http_client, url_of};
use crate::worker::Worker;
use gateway::http;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn without_front_the_gateway_lives_and_is_not_ready() {
    let closed = url_of(&bind().await);
    let listener = bind().await;
    let (url, stop) = (url_of(&listener), CancellationToken::new());
    let config = http::Config {
        front: closed,
        ..defaults()
    };
    let gateway = tokio::spawn(http::run(config, listener, stop.clone()));
    let client = http_client();
    let status = async |path: &str| Answer::of(client.get(format!("{url}{path}"))).await.status;
    assert_eq!(status("/healthz").await, 200);
    assert_eq!(status("/readyz").await, 503);
    assert_eq!(status("/metrics").await, 200);
    let part = reqwest::multipart::Part::bytes(photo(1)).file_name("a.jpg");
    let form = reqwest::multipart::Form::new().part("inputFile", part);
    let answer = Answer::of(client.post(&url).multipart(form)).await;
    answer.assert_refused(503, "cannot be reached");
    assert_eq!(answer.header("retry-after"), "5");
    stop.cancel();
    gateway.await.unwrap().unwrap();
}

#[tokio::test]
async fn front_waits_for_a_cloud_that_comes_later() {
    let cloud = bind().await;
    let stack = Stack::in_cloud(&cloud, |_, _| {}).await;
    eventually("front answers", || async {
        let answer = stack.post("a.jpg", &photo(1)).await;
        answer.status == 503 && answer.body.contains("starting")
    })
    .await;
    assert_eq!(stack.status_of("/readyz").await, 503);
    stack.serve_cloud(cloud);
    stack.until_ready().await;
    let _worker = Worker::recognizing(&stack).await;
    stack
        .post("a.jpg", &photo(1))
        .await
        .assert_recognized("a:somebody");
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
