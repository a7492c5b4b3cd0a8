//! Clips: posted over HTTP, split by FFmpeg, recognized by simulated workers after the photos.

use std::time::Duration;

use platform::access::{Keys, Role};
use platform::objects::Metadata;
use proto::v1::recognition_result::Outcome;
use proto::v1::{
    FailureCode, FrameDone, FrameFaces, RecognitionResult, Video, VideoClaim, VideoRecord,
    VideoState,
};
use proto::{JobId, VideoKeys};
use serde_json::Value;
use testkit::{LocalCloud, eventually};

use crate::clips::{OneAtATime, accepted, assert_ada_then_ben, clip, sound};
use crate::photos::photo;
use crate::stack::{Answer, Stack};
use crate::worker::{Behavior, Worker, failed};

#[tokio::test]
async fn a_clip_becomes_a_timeline_and_its_frames_are_deleted() {
    let stack = Stack::start().await;
    let _worker = OneAtATime::start(&stack, usize::MAX).await;
    let answer = stack.post_clip("?fps=4", "holiday.MP4", clip(5)).await;
    let id = accepted(&answer);
    let video = stack.until_video(&id, "done").await;
    assert_eq!(video["file_name"], "holiday.MP4");
    assert_eq!(video["frames"], 20, "{video}");
    assert_eq!(
        (&video["frames_done"], &video["frames_failed"]),
        (&20.into(), &0.into())
    );
    assert_eq!(video["timeline"]["clip"], "holiday.MP4");
    assert_eq!(video["timeline"]["frames"], 20);
    assert_ada_then_ben(&video);
    eventually("the frames are deleted", || async {
        stack.files_of(&id).await == ["clip.MP4", "video.json"]
    })
    .await;
    eventually("the claim is deleted", || async {
        stack.photos().await.len() == 2
    })
    .await;
    let demand = stack
        .until_demand(|demand| demand.waiting_frames == 0)
        .await;
    assert_eq!((demand.frames_done_total, demand.accepted_total), (20, 0));
    let results = stack.out_bucket().keys().await.unwrap();
    assert_eq!(results.len(), 21, "{results:?}");
    assert!(results.contains(&format!("videos/{id}/timeline.json")));
    let unknown = format!("{}/v1/videos/{}", stack.url, JobId::random());
    let unknown = Answer::of(stack.client.get(unknown)).await;
    unknown.assert_refused(404, "there is no clip of this id");
}

#[tokio::test]
async fn photos_go_before_the_frames_that_wait() {
    let stack = Stack::start().await;
    let answer = stack.post_clip("?fps=10", "a.mp4", clip(6)).await;
    let id = accepted(&answer);
    let demand = stack
        .until_demand(|demand| demand.waiting_frames == 60)
        .await;
    assert_eq!(demand.unanswered, 0, "frames are demand of their own");
    let photos = (0..20).map(|seed| {
        let stack = &stack;
        async move {
            let answer = stack.post(&format!("{seed}.jpg"), &photo(seed)).await;
            answer.assert_recognized(&format!("{seed}:somebody"));
        }
    });
    let served = async {
        stack.until_demand(|demand| demand.unanswered == 20).await;
        let worker = OneAtATime::start(&stack, 30).await;
        stack.until_demand(|demand| demand.unanswered == 0).await;
        worker
    };
    let (_, worker) = tokio::join!(futures::future::join_all(photos), served);
    eventually("the worker has ended", || async {
        worker.jobs().len() == 30
    })
    .await;
    let jobs = worker.jobs();
    let last_photo = jobs.iter().rposition(Option::is_none).unwrap();
    // One frame was on the queue before the photos came, and one follows the last of them.
    let before = jobs[..last_photo].iter().flatten().count();
    assert!(before <= 2, "{jobs:?}");

    // Frames are in work. A photo waits for those on the queue: for one worker there are two.
    let late = async {
        let answer = stack.post("late.jpg", &photo(77)).await;
        answer.assert_recognized("late:somebody");
    };
    let served = async {
        stack.until_demand(|demand| demand.unanswered == 1).await;
        OneAtATime::start(&stack, usize::MAX).await
    };
    let ((), worker) = tokio::join!(late, served);
    let jobs = worker.jobs();
    let position = jobs.iter().position(Option::is_none).unwrap();
    assert!(position <= 2, "{jobs:?}");
    let video = stack.until_video(&id, "done").await;
    assert_eq!(video["frames_done"], 60);
}

#[tokio::test]
async fn another_front_finishes_a_clip_without_repeating_frames() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let mut first = Stack::in_cloud(&cloud.url, |_, _| {}).await;
    first.until_ready().await;
    let answer = first.post_clip("?fps=4", "a.mp4", clip(5)).await;
    let id = accepted(&answer);
    let worker = OneAtATime::start(&first, 7).await;
    eventually("some frames are done", || async {
        first.video(&id).await["frames_done"] == 7
    })
    .await;
    first.stop_front.cancel();
    (&mut first.front_ended).await.unwrap().unwrap();

    // It is as if the front had died: its claim is there, and nothing renews it.
    let video: JobId = id.parse().unwrap();
    let dead = VideoClaim {
        video_id: id.clone(),
        owner: "test-resp-queue-of-the-dead".to_owned(),
        renewals: 9,
    };
    let claim = VideoKeys { video }.claim();
    let bucket = first.in_bucket();
    let body = proto::encode(&dead).into();
    bucket.put(&claim, body, Metadata::new()).await.unwrap();
    let second = Stack::in_cloud(&cloud.url, |front, _| {
        front.videos.clip_lease = Duration::from_secs(2);
    })
    .await;
    second.until_ready().await;
    let found = second.video(&id).await;
    assert_eq!(
        found["state"], "recognizing",
        "any front tells the progress"
    );
    assert_eq!(found["frames_done"], 7);
    let rest = OneAtATime::start(&second, usize::MAX).await;
    let video = second.until_video(&id, "done").await;
    assert_ada_then_ben(&video);
    assert_eq!(
        (&video["frames_done"], &video["frames_failed"]),
        (&20.into(), &0.into())
    );
    // The frame that was on the queue when the first front ended is done twice.
    let mut frames: Vec<u32> = rest.jobs().into_iter().flatten().collect();
    frames.sort_unstable();
    let done_before: Vec<u32> = worker.jobs().into_iter().flatten().collect();
    let repeated = frames.iter().filter(|frame| done_before.contains(frame));
    assert_eq!(repeated.count(), 0, "{frames:?} {done_before:?}");
    frames.dedup();
    assert_eq!(frames.len(), 13, "{frames:?}");
}

#[tokio::test]
async fn a_clip_that_its_front_gives_up_at_shutdown_is_taken_over_at_once() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let mut first = Stack::in_cloud(&cloud.url, |_, _| {}).await;
    first.until_ready().await;
    let answer = first.post_clip("?fps=2", "a.mp4", clip(5)).await;
    let id = accepted(&answer);
    first
        .until_demand(|demand| demand.waiting_frames == 10)
        .await;
    first.stop_front.cancel();
    (&mut first.front_ended).await.unwrap().unwrap();
    let second = Stack::in_cloud(&cloud.url, |front, _| {
        // A claim would not become stale within the test.
        front.videos.clip_lease = Duration::from_secs(3_600);
    })
    .await;
    second.until_ready().await;
    let _worker = OneAtATime::start(&second, usize::MAX).await;
    let video = second.until_video(&id, "done").await;
    assert_eq!(video["frames_done"], 10);
}

/// It was tried again forever.
#[tokio::test]
async fn a_clip_whose_file_is_gone_fails_and_frees_its_place() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let deployment = crate::stack::deployment(&cloud.url).await;
    let bucket = deployment.aws.objects(deployment.names.in_bucket());
    bucket.ensure().await.unwrap();
    let video = JobId::random();
    let keys = VideoKeys { video };
    let record = VideoRecord {
        video: Some(Video {
            video_id: video.to_string(),
            state: VideoState::Splitting.into(),
            ..Video::default()
        }),
        clip_key: keys.clip("mp4"),
        ..VideoRecord::default()
    };
    let given_up = VideoClaim {
        video_id: video.to_string(),
        ..VideoClaim::default()
    };
    for (key, body) in [
        (keys.record(), proto::encode(&record)),
        (keys.claim(), proto::encode(&given_up)),
    ] {
        let put = bucket.put(&key, body.into(), Metadata::new());
        put.await.unwrap();
    }
    let stack = Stack::in_cloud(&cloud.url, |front, _| front.videos.max_clips = 1).await;
    stack.until_ready().await;
    stack.until_video(&video.to_string(), "failed").await;
    eventually("its place is free", || async {
        stack.post_clip("", "a.mp4", clip(1)).await.status == 202
    })
    .await;
}

#[tokio::test]
async fn files_that_are_no_clips_are_refused_and_leave_nothing() {
    let stack = Stack::configured(|front, http| {
        front.videos.limits.max_clip_bytes = 200_000;
        http.max_clip_bytes = 300_000;
    })
    .await;
    let short = clip(1);
    let text = b"hello, this is no clip".to_vec();
    for (query, name, body, status, reason) in [
        ("", "a.mp4", text, 400, ""),
        ("", "a.mp4", photo(1)[..20].to_vec(), 400, ""),
        ("", "a.mp4", sound(), 400, ""),
        ("", "a.mp4", Vec::new(), 400, "empty"),
        ("", "../a.mp4", short.clone(), 400, "'/'"),
        (
            "?fps=0.0001",
            "",
            short.clone(),
            400,
            "the file name is empty",
        ),
        ("?fps=-1", "a.mp4", short.clone(), 400, "frames a second"),
        ("?fps=x", "a.mp4", short.clone(), 400, "numbers"),
        ("?scene=2", "a.mp4", short.clone(), 400, "from 0 to 1"),
        (
            "",
            "a.mp4",
            vec![0; 250_000],
            413,
            "larger than 200000 bytes",
        ),
        (
            "",
            "a.mp4",
            vec![0; 350_000],
            413,
            "larger than 300000 bytes",
        ),
        (
            "",
            "a.mp4",
            vec![0; 900_000],
            413,
            "larger than 300000 bytes",
        ),
    ] {
        let answer = stack.post_clip(query, name, body).await;
        answer.assert_refused(status, reason);
    }
    let json = [("accept", "application/json")];
    let sound = stack.post_clip_with("", "a.mp4", sound(), &json).await;
    let sound: Value = serde_json::from_str(&sound.body).unwrap();
    assert_eq!(sound["error"]["code"], "not_a_clip", "{sound}");
    let form = testkit::upload("a.mp4", short).text("fps", "3");
    let url = format!("{}/v1/videos", stack.url);
    let late = Answer::of(stack.client.post(&url).multipart(form)).await;
    late.assert_refused(400, "have to precede inputFile");
    let without = reqwest::multipart::Form::new().text("fps", "3");
    let without = Answer::of(stack.client.post(&url).multipart(without)).await;
    without.assert_refused(400, "no part inputFile");
    let wrong = Answer::of(stack.client.get(&url)).await;
    wrong.assert_refused_without_id(405, "send clips by POST");
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn clips_beyond_the_limit_get_429_until_one_is_done() {
    let stack = Stack::configured(|front, _| front.videos.max_clips = 1).await;
    let first = accepted(&stack.post_clip("", "a.mp4", clip(1)).await);
    let refused = stack.post_clip("", "b.mp4", clip(1)).await;
    refused.assert_refused(429, "too many clips");
    assert_eq!(refused.header("retry-after"), "2");
    let _worker = OneAtATime::start(&stack, usize::MAX).await;
    stack.until_video(&first, "done").await;
    eventually("the next clip is accepted", || async {
        stack.post_clip("", "b.mp4", clip(1)).await.status == 202
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_stores_nothing() {
    let stack = Stack::start().await;
    let body =
        b"--x\r\nContent-Disposition: form-data; name=inputFile; filename=a.mp4\r\n\r\n".to_vec();
    let whole = [&body[..], &clip(1)].concat();
    let url = format!("{}/v1/videos", stack.url);
    let request = stack.client.post(&url);
    let request = request.header("content-type", "multipart/form-data; boundary=x");
    // The closing boundary is missing.
    let answer = Answer::of(request.body(whole)).await;
    answer.assert_refused(400, "damaged");
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn clips_need_a_key_and_no_other_site() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut keys = Keys::default();
    let shop = keys.add("shop", &[Role::Recognize], None).unwrap();
    let operator = keys.add("operator", &[Role::Operate], None).unwrap();
    keys.write(file.path()).unwrap();
    let stack = Stack::configured(|front, http| {
        front.server.access.api_keys = Some(file.path().to_owned());
        http.access.api_keys = Some(file.path().to_owned());
    })
    .await;
    let post =
        async |headers: &[(&str, &str)]| stack.post_clip_with("", "a.mp4", clip(1), headers).await;
    post(&[]).await.assert_refused(401, "an API key is needed");
    let other = post(&[("x-api-key", operator.expose())]).await;
    other.assert_refused(403, "lacks the role recognize");
    let key = ("x-api-key", shop.expose());
    let elsewhere = post(&[key, ("sec-fetch-site", "cross-site")]).await;
    elsewhere.assert_refused(403, "other sites");
    let id = accepted(&post(&[key]).await);
    let url = format!("{}/v1/videos/{id}", stack.url);
    let without = Answer::of(stack.client.get(&url)).await;
    without.assert_refused(401, "an API key is needed");
    let found = Answer::of(stack.client.get(&url).header(key.0, key.1)).await;
    assert_eq!(found.status, 200, "{}", found.body);
}

/// A worker that cannot decode a frame says so, and another attempt would not help.
#[tokio::test]
async fn a_frame_that_no_worker_can_recognize_is_counted_and_the_clip_is_done() {
    let stack = Stack::start().await;
    let results = stack.out_bucket();
    let id = accepted(&stack.post_clip("?fps=4", "a.mp4", clip(5)).await);
    // The faces of every frame but the damaged one are there, as a worker would have stored them.
    let video: JobId = id.parse().unwrap();
    stack
        .until_demand(|demand| demand.waiting_frames == 20)
        .await;
    for frame in (0..20).filter(|frame| *frame != 3) {
        let faces = FrameFaces {
            frame,
            at_seconds: f64::from(frame) / 4.0,
            ..FrameFaces::default()
        };
        let key = VideoKeys { video }.frame(frame).faces();
        let put = results.put(&key, proto::encode(&faces).into(), Metadata::new());
        put.await.unwrap();
    }
    let worker = Worker::start(&stack, |job| {
        let frame = job.frame.as_ref().map_or(0, |frame| frame.frame);
        match frame {
            3 => Behavior::Send(vec![failed(job, FailureCode::DamagedImage, "damaged")]),
            _ => Behavior::Send(vec![proto::encode(&RecognitionResult {
                job_id: job.job_id.clone(),
                outcome: Some(Outcome::Frame(FrameDone { faces: 0 })),
                timings: None,
                instance_id: "i-simulated".to_owned(),
                stem: String::new(),
            })]),
        }
    });
    let _worker = worker.await;
    let video = stack.until_video(&id, "done").await;
    assert_eq!(
        (&video["frames_done"], &video["frames_failed"]),
        (&19.into(), &1.into())
    );
    assert_eq!(video["timeline"]["framesWithoutFace"], 19);
}
