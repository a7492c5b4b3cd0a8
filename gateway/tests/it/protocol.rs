use std::sync::{Arc, Mutex};

use proto::v1::{FailureCode, RecognizeRequest};
use serde_json::Value;
use tonic::Code;

use crate::photos::photo;
use crate::stack::{Answer, Stack};
use crate::worker::{Behavior, Worker, failed, recognized};

async fn post_for_json(stack: &Stack, photo: Vec<u8>) -> (Answer, Value) {
    let part = reqwest::multipart::Part::bytes(photo).file_name("a.b.jpg");
    let form = reqwest::multipart::Form::new()
        .text("comment", "ignored")
        .part("inputFile", part);
    let request = stack
        .client
        .post(&stack.url)
        .header("accept", "application/json");
    let answer = Answer::of(request.multipart(form)).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let json = serde_json::from_str(&answer.body).unwrap();
    (answer, json)
}

#[tokio::test]
async fn json_has_every_field() {
    let stack = Stack::start().await;
    let _worker = Worker::recognizing(&stack).await;
    let (answer, json) = post_for_json(&stack, photo(1)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(json["name"], "somebody");
    assert_eq!(json["stem"], "a.b");
    assert_eq!(json["distance"], 0.5);
    assert_eq!(json["confidence"], 0.75);
    assert_eq!(json["box"]["right"], 3.0);
    assert_eq!(json["landmarks"].as_array().unwrap().len(), 5);
    assert_eq!(json["model"], "simulated");
    assert_eq!(json["timings"]["decode_ms"], 1.0);
    assert!(json["timings"]["total_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(json["request_id"], answer.header("x-request-id"));
}

#[tokio::test]
async fn errors_are_json_if_the_client_accepts_it() {
    let stack = Stack::start().await;
    let (answer, json) = post_for_json(&stack, b"text".to_vec()).await;
    assert_eq!(answer.status, 415);
    assert_eq!(json["error"]["code"], "not_an_image");
    assert_eq!(json["error"]["request_id"], answer.header("x-request-id"));
    assert!(json["error"]["message"].as_str().unwrap().contains("JPEG"));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let stack = Stack::start().await;
    let elsewhere = Answer::of(stack.client.post(format!("{}/upload", stack.url))).await;
    assert_eq!(
        (elsewhere.status, elsewhere.body.as_str()),
        (
            404,
            "there is nothing at /upload; send photos by POST to /\n"
        )
    );
    let put = Answer::of(stack.client.put(&stack.url)).await;
    assert_eq!((put.status, put.header("allow")), (405, "POST,GET,HEAD"));
    assert_eq!(put.body, "send photos by POST to /\n");
    for path in ["/v1/watch", "/page/index.html"] {
        let post = Answer::of(stack.client.post(format!("{}{path}", stack.url))).await;
        assert_eq!((post.status, post.header("allow")), (405, "GET,HEAD"));
        assert_eq!(post.body, format!("read {path} by GET\n"));
    }
}

#[tokio::test]
async fn grpc_clients_get_the_code_of_the_failure() {
    let stack = Stack::start().await;
    let _worker = Worker::failing(&stack, FailureCode::NoFace, "no face found").await;
    let request = |file_name: &str, image: Vec<u8>| RecognizeRequest {
        file_name: file_name.to_owned(),
        image: image.into(),
    };
    for (request, code) in [
        (request("a.jpg", photo(1)), "no_face"),
        (request("../a.jpg", photo(1)), "bad_file_name"),
        (request("a.jpg", b"text".to_vec()), "not_an_image"),
        (request("a.jpg", Vec::new()), "bad_request"),
        (request("a.jpg", vec![0; 10 * 1024 * 1024 + 1]), "too_large"),
    ] {
        let status = stack.recognizer().recognize(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.metadata().get("muster-error-code").unwrap(), code);
    }
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn a_grpc_client_with_a_short_timeout_is_answered_in_time() {
    let stack = Stack::start().await;
    let message = RecognizeRequest {
        file_name: "a.jpg".to_owned(),
        image: photo(1).into(),
    };
    let mut request = tonic::Request::new(message);
    request
        .metadata_mut()
        .insert("grpc-timeout", "600m".parse().unwrap());
    let status = stack.recognizer().recognize(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        status.metadata().get("muster-error-code").unwrap(),
        "deadline_exceeded"
    );
}

#[tokio::test]
async fn a_late_reply_does_not_answer_a_retry_with_the_same_request_id() {
    let stack = Stack::start().await;
    let id = "0123456789abcdef0123456789abcdef";
    let request = |file_name: &str, seed: u8| {
        let message = RecognizeRequest {
            file_name: file_name.to_owned(),
            image: photo(seed).into(),
        };
        let mut request = tonic::Request::new(message);
        request
            .metadata_mut()
            .insert("x-request-id", id.parse().unwrap());
        request
    };
    let mut short = request("a.jpg", 1);
    short
        .metadata_mut()
        .insert("grpc-timeout", "600m".parse().unwrap());
    let status = stack.recognizer().recognize(short).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);

    let mut recognizer = stack.recognizer();
    let retry = request("b.jpg", 2);
    let retry = tokio::spawn(async move { recognizer.recognize(retry).await });
    stack.until_demand(|demand| demand.unanswered == 1).await;
    let _worker = Worker::start(&stack, |job| {
        let name = format!("owner of {}", job.object_key);
        Behavior::Send(vec![recognized(job, &name)])
    })
    .await;
    let answer = retry.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.recognition.unwrap().name, "owner of b.jpg");
    assert_ne!(answer.request_id, id);
}

#[tokio::test]
async fn the_request_id_of_a_response_is_the_id_of_its_job() {
    let stack = Stack::start().await;
    let jobs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&jobs);
    let _worker = Worker::start(&stack, move |job| {
        seen.lock().unwrap().push(job.job_id.clone());
        Behavior::Send(vec![match job.object_key.as_str() {
            "a.jpg" => recognized(job, "somebody"),
            _ => failed(job, FailureCode::NoFace, "no face found"),
        }])
    })
    .await;
    let recognized = stack.post("a.jpg", &photo(1)).await;
    recognized.assert_recognized("a:somebody");
    let refused = stack.post("b.jpg", &photo(2)).await;
    refused.assert_refused(422, "no face");
    let ids = [recognized, refused].map(|answer| answer.header("x-request-id").to_owned());
    assert_eq!(*jobs.lock().unwrap(), ids);
}

#[tokio::test]
async fn the_largest_photo_is_accepted() {
    let stack = Stack::start().await;
    let _worker = Worker::recognizing(&stack).await;
    let mut largest = photo(1);
    // Decoders ignore what follows the end of the image.
    largest.resize(10 * 1024 * 1024, 0);
    let answer = stack.post("a.jpg", &largest).await;
    answer.assert_recognized("a:somebody");
    largest.push(0);
    let answer = stack.post("b.jpg", &largest).await;
    answer.assert_refused(413, "larger than 10485760 bytes");
    stack.assert_left_behind(&["a.jpg"]).await;
}

#[tokio::test]
async fn json_is_compressed_and_text_is_not() {
    let stack = Stack::start().await;
    let _worker = Worker::recognizing(&stack).await;
    for (accept, encoding) in [("application/json", Some("gzip")), ("text/plain", None)] {
        let request = stack
            .client
            .post(&stack.url)
            .header("accept", accept)
            .header("accept-encoding", "gzip")
            .multipart(testkit::upload("a.jpg", photo(1)));
        let answer = request.send().await.unwrap();
        let given = answer.headers().get("content-encoding");
        assert_eq!(given.map(|value| value.to_str().unwrap()), encoding);
    }
}
