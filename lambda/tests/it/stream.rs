//! face-detection and face-recognition with queues between them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::cloud::{Cloud, call, empty_picture, portrait};
use crate::events::{messages, posted};

fn body(reply: &Value) -> Value {
    serde_json::from_str(reply["body"].as_str().unwrap()).unwrap()
}

fn picture(id: &str, file: Vec<u8>) -> String {
    let content = BASE64_STANDARD.encode(file);
    json!({"request_id": id, "filename": "frame.jpg", "content": content}).to_string()
}

#[tokio::test]
async fn a_picture_goes_by_two_queues_to_its_name() {
    let cloud = Cloud::start().await;
    let (requests, responses) = (cloud.queue("faces").await, cloud.queue("names").await);
    let queues = ["--request-queue", &requests, "--response-queue", &responses];
    let detection = cloud.function("face-detection", &queues).await;
    let recognition = cloud.function("face-recognition", &queues).await;
    let photos = testkit::samples::validation_photos();
    for (index, (_, path)) in photos.iter().enumerate() {
        let text = picture(&index.to_string(), std::fs::read(path).unwrap());
        // AWS encodes bodies of some types.
        let event = match index % 2 {
            0 => posted("POST", &text, false),
            _ => posted("POST", &BASE64_STANDARD.encode(&text), true),
        };
        let reply = call(&detection, event).await.unwrap();
        assert_eq!(reply["statusCode"], 200, "{reply}");
        assert_eq!(
            body(&reply),
            json!({"request_id": index.to_string(), "face": true})
        );
    }
    assert_eq!(cloud.take(&responses).await, [json!(null); 0]);
    let faces = cloud.take(&requests).await;
    assert_eq!(faces.len(), photos.len());
    for batch in faces.chunks(10) {
        let bodies: Vec<_> = batch.iter().map(Value::to_string).collect();
        assert!(bodies.iter().all(|body| body.len() < 256 << 10));
        let reply = call(&recognition, messages(&bodies)).await.unwrap();
        assert_eq!(reply, json!({"batchItemFailures": []}));
    }
    let names = cloud.take(&responses).await;
    assert_eq!(names.len(), photos.len());
    for name in names {
        let index: usize = name["request_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(name["result"], photos[index].0, "{:?}", photos[index].1);
        assert_eq!(name.as_object().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_picture_without_a_face_has_its_result_at_once() {
    let cloud = Cloud::start().await;
    let (requests, responses) = (cloud.queue("faces").await, cloud.queue("names").await);
    let queues = ["--request-queue", &requests, "--response-queue", &responses];
    let detection = cloud.function("face-detection", &queues).await;
    let event = posted("POST", &picture("7", empty_picture()), false);
    let reply = call(&detection, event).await.unwrap();
    assert_eq!(reply["statusCode"], 200);
    assert_eq!(body(&reply)["result"], "No-Face");
    let no_face = json!({"request_id": "7", "result": "No-Face"});
    assert_eq!(cloud.take(&responses).await, [no_face]);
    assert!(cloud.take(&requests).await.is_empty());
}

#[tokio::test]
async fn bad_requests_get_a_400_and_queue_nothing() {
    let cloud = Cloud::start().await;
    let (requests, responses) = (cloud.queue("faces").await, cloud.queue("names").await);
    let queues = ["--request-queue", &requests, "--response-queue", &responses];
    let detection = cloud.function("face-detection", &queues).await;
    let no_base64 = json!({"request_id": "1", "content": "§§"}).to_string();
    for event in [
        posted("GET", "", false),
        posted("POST", "", false),
        posted("POST", "{", false),
        posted("POST", "{}", false),
        posted("POST", r#"{"request_id": "1"}"#, false),
        posted("POST", r#"{"request_id": 1, "content": "AAAA"}"#, false),
        posted("POST", &no_base64, false),
        posted("POST", "no base64!", true),
        posted("POST", &picture("1", b"this is text".to_vec()), false),
        json!({"something": "else"}),
        json!(null),
    ] {
        let reply = call(&detection, event.clone()).await.unwrap();
        assert_eq!(reply["statusCode"], 400, "{event}");
        assert!(body(&reply)["error"].is_string(), "{reply}");
    }
    assert!(cloud.take(&requests).await.is_empty());
    assert!(cloud.take(&responses).await.is_empty());
}

#[tokio::test]
async fn poison_fails_alone() {
    let cloud = Cloud::start().await;
    let (requests, responses) = (cloud.queue("faces").await, cloud.queue("names").await);
    let queues = ["--request-queue", &requests, "--response-queue", &responses];
    let recognition = cloud.function("face-recognition", &queues).await;
    let face = |face: &str| json!({"request_id": "1", "filename": "a", "face": face}).to_string();
    let good = face(&BASE64_STANDARD.encode(portrait("madonna")));
    let batch = [
        "hello".to_owned(),
        good.clone(),
        face("no base64!"),
        face(&BASE64_STANDARD.encode("no picture")),
        "{}".to_owned(),
        good,
    ];
    let reply = call(&recognition, messages(&batch)).await.unwrap();
    let failed = [0, 2, 3, 4].map(|index| json!({"itemIdentifier": format!("message-{index}")}));
    assert_eq!(reply, json!({"batchItemFailures": failed}));
    assert_eq!(cloud.take(&responses).await.len(), 2);
}

#[tokio::test]
async fn a_queue_that_is_gone_fails_the_messages() {
    let cloud = Cloud::start().await;
    let responses = cloud.queue("names").await;
    let settings = ["--response-queue", responses.as_str()];
    let recognition = cloud.function("face-recognition", &settings).await;
    let delete = cloud.sqs.delete_queue().queue_url(&responses).send();
    delete.await.unwrap();
    let face = BASE64_STANDARD.encode(portrait("madonna"));
    let body = json!({"request_id": "1", "face": face}).to_string();
    let reply = call(&recognition, messages(&[body])).await.unwrap();
    assert_eq!(reply["batchItemFailures"].as_array().unwrap().len(), 1);

    let unset = cloud.function("face-recognition", &[]).await;
    let error = call(&unset, messages(&["{}".to_owned()]))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("MUSTER_RESPONSE_QUEUE"),
        "{error}"
    );
}
