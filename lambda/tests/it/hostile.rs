//! Clips that no frames can be taken from: each has its outcome, and none is tried again.

use serde_json::{Value, json};

use crate::clips::{made_by_ffmpeg, of};
use crate::cloud::{Cloud, INPUT, OUTPUT, STAGE, call};
use crate::events::created;

/// Puts a clip into the bucket and splits it. Returns the outcome as the result's metadata has it.
async fn outcome(cloud: &Cloud, key: &str, clip: Vec<u8>, settings: &[&str]) -> String {
    let function = cloud.function("video-splitting", settings).await;
    cloud.put(INPUT, key, clip).await;
    let reply = call(&function, created(INPUT, &[key])).await.unwrap();
    let stem = key.rsplit_once('.').map_or(key, |(stem, _)| stem);
    let result = cloud.get(OUTPUT, &format!("{stem}.txt")).await.unwrap();
    assert_eq!(result.body, "");
    assert_ne!(result.metadata["muster-reason"], "");
    assert_eq!(result.metadata["muster-request-id"], "request-1");
    let outcome = result.metadata["muster-outcome"].clone();
    assert_eq!(reply["clips"][0]["outcome"], outcome.as_str(), "{key}");
    outcome
}

#[tokio::test]
async fn files_that_are_no_clips_have_an_empty_result_that_says_so() {
    let cloud = Cloud::start().await;
    let whole = of(&["elton_john"]);
    let secret = "/etc/hostname";
    for (key, file) in [
        ("text.mp4", b"this is text".to_vec()),
        ("empty.mp4", Vec::new()),
        ("head.mp4", whole[..24].to_vec()),
        (
            "playlist.mp4",
            format!("#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n").into_bytes(),
        ),
        (
            "concat.mp4",
            format!("ffconcat version 1.0\nfile {secret}\n").into_bytes(),
        ),
    ] {
        assert_eq!(outcome(&cloud, key, file, &[]).await, "not-a-clip", "{key}");
    }
    let sound = made_by_ffmpeg("-f lavfi -i sine=duration=1 -c:a aac");
    assert_eq!(outcome(&cloud, "sound.mp4", sound, &[]).await, "no-picture");
    assert_eq!(cloud.keys(STAGE).await, [""; 0]);
}

#[tokio::test]
async fn clips_beyond_a_limit_have_an_empty_result_that_says_so() {
    let cloud = Cloud::start().await;
    let clip = of(&["elton_john"]);
    for (limit, expected) in [
        (["--max-clip-bytes", "1000"], "too-large"),
        (["--max-clip-pixels", "1000"], "too-many-pixels"),
        (["--max-clip-duration", "500ms"], "too-long"),
    ] {
        let key = format!("{expected}.mp4");
        let outcome = outcome(&cloud, &key, clip.clone(), &limit).await;
        assert_eq!(outcome, expected);
    }
    assert_eq!(cloud.keys(STAGE).await, [""; 0]);
}

#[tokio::test]
async fn in_a_timeline_the_result_is_json_all_the_same() {
    let cloud = Cloud::start().await;
    let settings = ["--clip-mode", "timeline"];
    let function = cloud.function("video-splitting", &settings).await;
    cloud.put(INPUT, "a/text.mp4", "this is text").await;
    let event = created(INPUT, &["a/text.mp4"]);
    call(&function, event).await.unwrap();
    let result = cloud.get(OUTPUT, "a/text.json").await.unwrap();
    let timeline: Value = serde_json::from_str(&result.body).unwrap();
    assert_eq!(timeline, json!({"clip": "text.mp4"}));
    assert_eq!(result.metadata["muster-outcome"], "not-a-clip");
}

#[tokio::test]
async fn events_without_a_clip_change_nothing() {
    let cloud = Cloud::start().await;
    let function = cloud.function("video-splitting", &[]).await;
    cloud.put(INPUT, "folder/", "").await;
    let mut deleted = created(INPUT, &["a.mp4"]);
    deleted["Records"][0]["eventName"] = "ObjectRemoved:Delete".into();
    for event in [
        json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": INPUT}),
        json!({"hello": "world"}),
        json!(null),
        deleted,
        created(INPUT, &["folder/"]),
        created(INPUT, &["gone.mp4"]),
    ] {
        call(&function, event).await.unwrap();
    }
    assert_eq!(cloud.keys(STAGE).await, [""; 0]);
    assert_eq!(cloud.keys(OUTPUT).await, [""; 0]);
}
