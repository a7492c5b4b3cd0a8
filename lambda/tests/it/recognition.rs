//! face-recognition with frames in a bucket.

use serde_json::json;

use crate::cloud::{Cloud, OUTPUT, STAGE, call, empty_picture, invocation, portrait};

#[tokio::test]
async fn a_frame_gets_a_name_however_it_is_named() {
    let cloud = Cloud::start().await;
    let function = cloud.function("face-recognition", &[]).await;
    for (key, event) in [
        (
            "test_00.jpg",
            json!({"bucket_name": STAGE, "image_file_name": "test_00.jpg"}),
        ),
        (
            "a folder/output-01.jpg",
            json!({"bucket": STAGE, "key": "a folder/output-01.jpg"}),
        ),
        ("Zoë+1.jpg", crate::events::created(STAGE, &["Zoë+1.jpg"])),
    ] {
        cloud.put(STAGE, key, portrait("elton_john")).await;
        let reply = call(&function, event).await.unwrap();
        assert_eq!(reply["name"], "elton_john", "{key}");
        let result = key.replace(".jpg", ".txt");
        let result = cloud.get(OUTPUT, &result).await.unwrap();
        assert_eq!(result.body, "elton_john", "{key}");
        assert_eq!(result.metadata["muster-outcome"], "named");
        assert_eq!(result.metadata["muster-request-id"], "request-1");
        let distance: f32 = result.metadata["muster-distance"].parse().unwrap();
        assert!((0.0..1.09).contains(&distance), "{distance}");
    }
}

#[tokio::test]
async fn what_has_no_name_says_so_in_its_metadata() {
    let cloud = Cloud::start().await;
    let function = cloud
        .function("face-recognition", &["--threshold", "0.01"])
        .await;
    let cases: [(&str, Vec<u8>, &str, &str); 3] = [
        ("stranger.jpg", portrait("madonna"), "unknown", "Unknown"),
        ("nobody.jpg", empty_picture(), "no-face", ""),
        ("text.jpg", b"this is text".to_vec(), "not-an-image", ""),
    ];
    for (key, picture, outcome, text) in cases {
        cloud.put(STAGE, key, picture).await;
        let event = json!({"bucket_name": STAGE, "image_file_name": key});
        let reply = call(&function, event).await.unwrap();
        assert_eq!(reply["outcome"], outcome);
        let result = key.replace(".jpg", ".txt");
        let result = cloud.get(OUTPUT, &result).await.unwrap();
        assert_eq!(result.body, text);
        assert_eq!(result.metadata["muster-outcome"], outcome);
        assert_eq!(
            result.metadata.contains_key("muster-reason"),
            outcome == "not-an-image"
        );
    }
}

#[tokio::test]
async fn an_event_that_comes_twice_changes_nothing_and_a_new_frame_replaces_its_result() {
    let cloud = Cloud::start().await;
    let function = cloud.function("face-recognition", &[]).await;
    let event = json!({"bucket_name": STAGE, "image_file_name": "a.jpg"});
    cloud.put(STAGE, "a.jpg", portrait("elton_john")).await;
    let first = function.call(event.clone(), &invocation("first")).await;
    assert_eq!(first.unwrap()["stored"], true);
    let stored = cloud.get(OUTPUT, "a.txt").await.unwrap();
    let second = function.call(event.clone(), &invocation("second")).await;
    assert_eq!(second.unwrap()["stored"], false);
    assert_eq!(cloud.get(OUTPUT, "a.txt").await.unwrap(), stored);
    assert_eq!(stored.metadata["muster-request-id"], "first");

    cloud.put(STAGE, "a.jpg", portrait("madonna")).await;
    let third = function.call(event, &invocation("third")).await;
    assert_eq!(third.unwrap()["stored"], true);
    let replaced = cloud.get(OUTPUT, "a.txt").await.unwrap();
    assert_eq!(replaced.body, "madonna");
    assert_eq!(replaced.metadata["muster-request-id"], "third");
}

#[tokio::test]
async fn many_duplicates_at_once_store_one_result() {
    let cloud = Cloud::start().await;
    let function = std::sync::Arc::new(cloud.function("face-recognition", &[]).await);
    cloud.put(STAGE, "a.jpg", portrait("elton_john")).await;
    let mut running = tokio::task::JoinSet::new();
    for index in 0..8 {
        let function = function.clone();
        running.spawn(async move {
            let event = json!({"bucket_name": STAGE, "image_file_name": "a.jpg"});
            let reply = function.call(event, &invocation(&index.to_string())).await;
            reply.unwrap()["stored"] == true
        });
    }
    let stored = running.join_all().await;
    assert_eq!(stored.iter().filter(|stored| **stored).count(), 1);
    assert_eq!(cloud.keys(OUTPUT).await, ["a.txt"]);
}

#[tokio::test]
async fn results_of_frames_that_differ_in_their_extension_do_not_meet() {
    let cloud = Cloud::start().await;
    let function = cloud.function("face-recognition", &[]).await;
    for (key, name) in [("a.jpg", "elton_john"), ("a.png", "madonna")] {
        cloud.put(STAGE, key, portrait(name)).await;
        let event = json!({"bucket_name": STAGE, "image_file_name": key});
        let reply = call(&function, event).await.unwrap();
        let key = reply["result"]["key"].as_str().unwrap();
        assert_eq!(cloud.get(OUTPUT, key).await.unwrap().body, name);
    }
    assert_eq!(cloud.keys(OUTPUT).await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_recognized_fails_so_that_its_event_is_kept() {
    let cloud = Cloud::start().await;
    let function = cloud.function("face-recognition", &[]).await;
    let missing = json!({"bucket_name": STAGE, "image_file_name": "missing.jpg"});
    assert_eq!(
        call(&function, missing).await.unwrap_err().kind(),
        "NoFrame"
    );
    for event in [
        json!({}),
        json!(null),
        json!({"Records": []}),
        json!({"bucket_name": 7}),
    ] {
        assert_eq!(call(&function, event).await.unwrap_err().kind(), "BadEvent");
    }
    let elsewhere = json!({"bucket_name": "no-such-bucket-stage-1", "image_file_name": "a.jpg"});
    assert_eq!(
        call(&function, elsewhere).await.unwrap_err().kind(),
        "Unavailable"
    );
    cloud.put("test-input", "a.jpg", portrait("madonna")).await;
    let made = cloud.s3.create_bucket().bucket("pictures").send().await;
    made.unwrap();
    cloud.put("pictures", "a.jpg", portrait("madonna")).await;
    let unnamed = json!({"bucket_name": "pictures", "image_file_name": "a.jpg"});
    let error = call(&function, unnamed).await.unwrap_err();
    assert!(
        error.to_string().contains("MUSTER_OUTPUT_BUCKET"),
        "{error}"
    );
    assert_eq!(cloud.keys(OUTPUT).await, [""; 0]);
}

#[tokio::test]
async fn a_function_of_another_name_does_not_start() {
    let cloud = Cloud::start().await;
    let settings = clap::Parser::try_parse_from(["test"]).unwrap();
    let config = cloud.config.clone();
    let linked = worker::service::LinkedEngines::NATIVE_ONLY;
    let started =
        lambda::function::Function::load("index.handler", settings, linked, async { config }).await;
    let error = started.unwrap_err().to_string();
    assert!(error.contains("face-recognition"), "{error}");
}
