//! Results of requests whose caller was gone: `GET /v1/results/<request id>`.

use std::time::Duration;

use gateway::front;
use gateway::front::CHOSEN_ID_METADATA;
use proto::JobId;
use proto::v1::{FailureCode, GetResultRequest, RecognizeRequest};
use testkit::{LocalCloud, eventually, listen};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::photos::photo;
use crate::stack::{Answer, Stack, deployment};
use crate::worker::{Behavior, Worker, failed, recognized};

async fn result_of(stack: &Stack, id: &str) -> Answer {
    Answer::of(stack.client.get(format!("{}/v1/results/{id}", stack.url))).await
}

async fn until_kept(stack: &Stack, id: &str) {
    eventually("the result is kept", || async {
        result_of(stack, id).await.status != 404
    })
    .await;
}

/// A call to front with this id.
fn call(id: &str) -> tonic::Request<RecognizeRequest> {
    let mut request = tonic::Request::new(RecognizeRequest {
        file_name: "a.jpg".to_owned(),
        image: photo(1).into(),
    });
    let id = id.parse().unwrap();
    request.metadata_mut().insert(CHOSEN_ID_METADATA, id);
    request
}

#[tokio::test]
async fn a_front_that_restarts_loses_no_job_and_its_result_is_kept() {
    let (cloud_listener, cloud_url) = listen().await;
    let _cloud = LocalCloud::serve(localcloud::Config::default(), cloud_listener);
    let (listener, front_url) = listen().await;
    let address = listener.local_addr().unwrap();
    let config = || {
        let reply_queue = [
            "--reply-queue",
            "test-resp-queue",
            "--drain-deadline",
            "0ms",
        ];
        testkit::parse::<front::Config>(&reply_queue)
    };
    let first = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let deployment = deployment(&cloud_url).await;
    first.spawn(front::run(
        config(),
        deployment.clone(),
        listener,
        CancellationToken::new(),
    ));
    // The gateway's own front is not used.
    let stack = Stack::in_cloud(&cloud_url, |_, http| http.front = front_url).await;
    stack.until_ready().await;
    let (client, url) = (stack.client.clone(), stack.url.clone());
    let waiting = tokio::spawn(async move {
        let form = testkit::upload("a.jpg", photo(1));
        Answer::of(client.post(&url).multipart(form)).await
    });
    let requests = stack.queue(deployment.names.request_queue()).await;
    eventually("the job is sent", || async {
        requests.counters().await.unwrap().visible == 1
    })
    .await;
    // As a crash: nothing of it runs any more.
    first.shutdown_background();
    let refused = waiting.await.unwrap();
    refused.assert_refused(503, "/v1/results/");
    let id = refused.header("x-request-id").to_owned();

    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(front::run(
        config(),
        deployment,
        listener,
        CancellationToken::new(),
    ));
    // The gateway may not have noticed the end yet.
    eventually("the new front is asked", || async {
        let answer = result_of(&stack, &id).await;
        answer.status == 404 && answer.body.contains("no result is kept")
    })
    .await;
    let _worker = Worker::recognizing(&stack).await;
    until_kept(&stack, &id).await;
    let kept = result_of(&stack, &id).await;
    kept.assert_recognized("a:somebody");
    assert_eq!(kept.header("x-request-id"), id);
}

#[tokio::test]
async fn the_error_of_a_photo_is_kept_too() {
    let stack = Stack::configured(|front, _| front.deadline = Duration::from_millis(400)).await;
    let answer = stack.post("a.jpg", &photo(1)).await;
    answer.assert_refused(504, "no worker answered in time");
    let _worker = Worker::start(&stack, |job| {
        Behavior::Send(vec![failed(job, FailureCode::NoFace, "no face found")])
    })
    .await;
    let id = answer.header("x-request-id");
    let place = format!("/v1/results/{id}");
    assert!(answer.body.contains(&place), "{}", answer.body);
    until_kept(&stack, id).await;
    result_of(&stack, id)
        .await
        .assert_refused(422, "no face found");
}

#[tokio::test]
async fn the_result_of_a_caller_who_left_is_kept() {
    let stack = Stack::start().await;
    let id = JobId::random().to_string();
    let (mut recognizer, request) = (stack.recognizer(), call(&id));
    let calling = tokio::spawn(async move { recognizer.recognize(request).await });
    stack.until_demand(|demand| demand.unanswered == 1).await;
    calling.abort();
    assert!(calling.await.unwrap_err().is_cancelled());
    let _worker = Worker::recognizing(&stack).await;
    until_kept(&stack, &id).await;
    result_of(&stack, &id).await.assert_recognized("a:somebody");
    let request = GetResultRequest {
        request_id: id.clone(),
    };
    let found = stack.recognizer().get_result(request).await.unwrap();
    let found = found.into_inner();
    assert_eq!((found.request_id, found.stem.as_str()), (id, "a"));
}

#[tokio::test]
async fn the_id_of_a_call_is_used_once() {
    let stack = Stack::start().await;
    let id = JobId::random().to_string();
    let (mut recognizer, request) = (stack.recognizer(), call(&id));
    let first = tokio::spawn(async move { recognizer.recognize(request).await });
    stack.until_demand(|demand| demand.unanswered == 1).await;
    let again = || async { stack.recognizer().recognize(call(&id)).await.unwrap_err() };
    assert_eq!(again().await.code(), Code::InvalidArgument);
    let _worker = Worker::recognizing(&stack).await;
    let answer = first.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.request_id, id);
    assert_eq!(again().await.code(), Code::InvalidArgument);
    let status = stack.recognizer().recognize(call("me")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_result_that_is_not_kept_is_not_found() {
    let stack = Stack::start().await;
    let _worker = Worker::start(&stack, |job| {
        Behavior::Send(vec![recognized(job, "somebody")])
    })
    .await;
    let answer = stack.post("a.jpg", &photo(1)).await;
    answer.assert_recognized("a:somebody");
    let id = answer.header("x-request-id");
    result_of(&stack, id)
        .await
        .assert_refused(404, "it was answered");
    let other = result_of(&stack, "a.jpg").await;
    other.assert_refused_without_id(404, "not the id of a request");
    stack.assert_left_behind(&["a.jpg"]).await;
}
