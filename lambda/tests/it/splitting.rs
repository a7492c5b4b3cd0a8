//! video-splitting, which has its frames recognized by a function in the same process.

use std::sync::Arc;

use testkit::eventually;

use crate::clips::of;
use crate::cloud::{Cloud, INPUT, OUTPUT, STAGE, call};
use crate::events::created;
use crate::stand_in::StandIn;

/// Waits until the output bucket has these keys, and no others.
async fn until_results(cloud: &Cloud, keys: &[&str]) {
    eventually(&format!("{keys:?}"), async || {
        cloud.keys(OUTPUT).await == keys
    })
    .await;
}

#[tokio::test]
async fn one_frame_a_clip() {
    let cloud = Cloud::start().await;
    let function = cloud.pipeline(&[]).await;
    let clips = [
        ("test_00.mp4", "elton_john", "test_00"),
        ("a folder/Zoë+1.mp4", "madonna", "a folder/Zoë+1"),
        ("../../etc/test.mp4", "ben_afflek", "etc/test"),
        ("test_01.mp4", "", "test_01"),
    ];
    for (key, name, _) in clips {
        cloud.put(INPUT, key, of(&[name])).await;
    }
    let keys = clips.map(|(key, ..)| key);
    let reply = call(&function, created(INPUT, &keys)).await.unwrap();
    for (split, key) in reply["clips"].as_array().unwrap().iter().zip(keys) {
        assert_eq!(split["clip"], key);
        assert_eq!(
            (&split["frames"], &split["invoked"]),
            (&1.into(), &1.into())
        );
    }
    let mut results: Vec<_> = clips
        .iter()
        .map(|(_, _, stem)| format!("{stem}.txt"))
        .collect();
    results.sort();
    until_results(
        &cloud,
        &results.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    for (_, name, stem) in clips {
        let result = cloud.get(OUTPUT, &format!("{stem}.txt")).await.unwrap();
        assert_eq!(result.body, name, "{stem}");
        let outcome = if name.is_empty() { "no-face" } else { "named" };
        assert_eq!(result.metadata["muster-outcome"], outcome);
        assert!(cloud.keys(STAGE).await.contains(&format!("{stem}.jpg")));
    }
}

#[tokio::test]
async fn ten_frames_a_clip() {
    let cloud = Cloud::start().await;
    let function = cloud.pipeline(&["--clip-mode", "frames"]).await;
    cloud
        .put(INPUT, "test_00.mp4", of(&["elton_john", "madonna"]))
        .await;
    let event = created(INPUT, &["test_00.mp4"]);
    let reply = call(&function, event.clone()).await.unwrap();
    assert_eq!(reply["clips"][0]["invoked"], 10);
    let results: Vec<_> = (1..=10)
        .map(|number| format!("test_00/output-{number:02}.txt"))
        .collect();
    until_results(
        &cloud,
        &results.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    let frames: Vec<_> = results
        .iter()
        .map(|key| key.replace(".txt", ".jpg"))
        .collect();
    assert_eq!(cloud.keys(STAGE).await, frames);
    let mut names = Vec::new();
    for key in &results {
        names.push(cloud.get(OUTPUT, key).await.unwrap().body);
    }
    assert_eq!(names[0], "elton_john");
    assert_eq!(names[9], "madonna");

    // The event once more: all is there.
    let reply = call(&function, event).await.unwrap();
    assert_eq!(reply["clips"][0]["frames"], 10);
    assert_eq!(reply["clips"][0]["invoked"], 0);
}

#[tokio::test]
async fn a_timeline() {
    let cloud = Cloud::start().await;
    let settings = ["--clip-mode", "timeline", "--frames-per-second", "4"];
    let function = cloud.pipeline(&settings).await;
    cloud
        .put(INPUT, "a/test_00.mp4", of(&["elton_john", "madonna"]))
        .await;
    let reply = call(&function, created(INPUT, &["a/test_00.mp4"])).await;
    let frames = reply.unwrap()["clips"][0]["frames"].as_u64().unwrap();
    assert!((7..=9).contains(&frames), "{frames}");
    eventually("the timeline", async || {
        cloud
            .keys(OUTPUT)
            .await
            .contains(&"a/test_00.json".to_owned())
    })
    .await;
    let stored = cloud.get(OUTPUT, "a/test_00.json").await.unwrap();
    let timeline: proto::v1::Timeline = proto::decode(&stored.body).unwrap();
    assert_eq!(timeline.clip, "test_00.mp4");
    assert_eq!(u64::from(timeline.frames), frames);
    let tracks = timeline.tracks.iter();
    let tracks: Vec<_> = tracks
        .map(|it| (it.name.as_str(), it.from_seconds, it.to_seconds))
        .collect();
    let [("elton_john", from, cut), ("madonna", next, to)] = tracks[..] else {
        panic!("{tracks:?}");
    };
    for (found, truth) in [(from, 0.0), (cut, 1.0), (next, 1.0), (to, 2.0)] {
        assert!((found - truth).abs() < 0.5, "{tracks:?}");
    }
}

#[tokio::test]
async fn clips_of_one_name_do_not_meet() {
    let cloud = Cloud::start().await;
    let function = cloud.pipeline(&[]).await;
    let clips = [
        ("a.mp4", "elton_john"),
        ("a.mov", "madonna"),
        ("b/a.mp4", "ben_afflek"),
    ];
    for (key, name) in clips {
        cloud.put(INPUT, key, of(&[name])).await;
        call(&function, created(INPUT, &[key])).await.unwrap();
    }
    eventually("three results", async || {
        cloud.keys(OUTPUT).await.len() == 3
    })
    .await;
    let keys = cloud.keys(OUTPUT).await;
    let [first, other, folder] = keys.as_slice() else {
        panic!("{keys:?}");
    };
    assert_eq!((first.as_str(), folder.as_str()), ("a.txt", "b/a.txt"));
    assert!(other.starts_with("a~"), "{other}");
    for (key, name) in [
        (first, "elton_john"),
        (other, "madonna"),
        (folder, "ben_afflek"),
    ] {
        assert_eq!(cloud.get(OUTPUT, key).await.unwrap().body, name);
    }
    // Another upload of a name replaces what was there.
    cloud.put(INPUT, "a.mp4", of(&["mindy_kaling"])).await;
    call(&function, created(INPUT, &["a.mp4"])).await.unwrap();
    eventually("the new name", async || {
        cloud.get(OUTPUT, "a.txt").await.unwrap().body == "mindy_kaling"
    })
    .await;
    assert_eq!(cloud.keys(OUTPUT).await, keys);
}

#[tokio::test]
async fn an_event_that_comes_many_times_at_once_has_one_result() {
    let cloud = Cloud::start().await;
    let function = Arc::new(cloud.pipeline(&[]).await);
    cloud.put(INPUT, "a.mp4", of(&["elton_john"])).await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let function = function.clone();
        running.spawn(async move { call(&function, created(INPUT, &["a.mp4"])).await.unwrap() });
    }
    running.join_all().await;
    until_results(&cloud, &["a.txt"]).await;
    assert_eq!(cloud.keys(STAGE).await, ["a.jpg"]);
    assert_eq!(cloud.get(OUTPUT, "a.txt").await.unwrap().body, "elton_john");
}

#[tokio::test]
async fn one_clip_that_fails_does_not_hold_up_the_others() {
    let cloud = Cloud::start().await;
    let function = cloud.pipeline(&[]).await;
    cloud.put(INPUT, "a.mp4", of(&["elton_john"])).await;
    let mut event = created(INPUT, &["a.mp4", "a.mp4"]);
    event["Records"][0]["s3"]["bucket"]["name"] = "no-such-bucket-input".into();
    let error = call(&function, event).await.unwrap_err();
    assert_eq!(error.kind(), "Several");
    until_results(&cloud, &["a.txt"]).await;
}

#[tokio::test]
async fn a_missing_function_fails_the_clip() {
    let cloud = Cloud::start().await;
    let nothing = StandIn::start(None, 0).await;
    let function = cloud.splitting(&[], &nothing).await;
    cloud.put(INPUT, "a.mp4", of(&["elton_john"])).await;
    let error = call(&function, created(INPUT, &["a.mp4"])).await;
    assert_eq!(error.unwrap_err().kind(), "Unavailable");
    // It is there when Lambda tries again.
    let function = cloud.pipeline(&[]).await;
    let reply = call(&function, created(INPUT, &["a.mp4"])).await;
    assert_eq!(reply.unwrap()["clips"][0]["invoked"], 1);
    until_results(&cloud, &["a.txt"]).await;
}

#[tokio::test]
async fn throttled_invocations_are_tried_again() {
    let cloud = Cloud::start().await;
    let settings = ["--clip-mode", "frames", "--clip-frames", "3"];
    let recognition = cloud.function("face-recognition", &settings).await;
    let lambda = StandIn::start(recognition, 4).await;
    let function = cloud.splitting(&settings, &lambda).await;
    cloud.put(INPUT, "a.mp4", of(&["elton_john"])).await;
    let reply = call(&function, created(INPUT, &["a.mp4"])).await;
    assert_eq!(reply.unwrap()["clips"][0]["invoked"], 3);
    assert_eq!((lambda.accepted(), lambda.throttled()), (3, 4));
    let results = ["a/output-01.txt", "a/output-02.txt", "a/output-03.txt"];
    until_results(&cloud, &results).await;
}
