//! Frames of clips: all their faces are stored.

use std::io::Cursor;

use image::{ImageFormat, RgbImage, imageops};
use proto::v1::recognition_result::Outcome;
use proto::v1::{FailureCode, FrameFaces, FrameJob, RecognitionJob};
use proto::{JobId, VideoKeys};

use crate::support::{Bench, job, photo};

/// A frame with two people side by side.
fn frame_of(left: &str, right: &str) -> Vec<u8> {
    let mut frame = RgbImage::from_pixel(640, 360, image::Rgb([60, 70, 80]));
    for (name, x) in [(left, 20), (right, 340)] {
        let person = image::load_from_memory(&photo(name)).unwrap();
        let person = person.resize(280, 340, imageops::FilterType::Triangle);
        imageops::overlay(&mut frame, &person.to_rgb8(), x, 10);
    }
    let mut jpeg = Cursor::new(Vec::new());
    frame.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    jpeg.into_inner()
}

fn frame_job(keys: VideoKeys, frame: u32) -> RecognitionJob {
    RecognitionJob {
        frame: Some(FrameJob {
            frame,
            at_seconds: 3.5,
            faces_key: keys.frame(frame).faces(),
        }),
        ..job(&keys.frame(frame).photo())
    }
}

impl Bench {
    async fn store_frame(&self, keys: VideoKeys, frame: u32, file: &[u8]) {
        self.put(&keys.frame(frame).photo(), file).await;
    }

    async fn faces(&self, keys: VideoKeys, frame: u32) -> FrameFaces {
        proto::decode(&self.result(&keys.frame(frame).faces()).await).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faces_of_a_frame_are_stored_and_a_repetition_stores_the_same() {
    let (bench, worker) = Bench::with_worker().await;
    let keys = VideoKeys {
        video: JobId::random(),
    };
    bench
        .store_frame(keys, 7, &frame_of("madonna", "elton_john"))
        .await;
    let mut found = Vec::new();
    for _ in 0..2 {
        let id = bench.send(frame_job(keys, 7)).await;
        let result = bench.reply().await;
        assert_eq!(
            (&result.job_id, result.instance_id.as_str()),
            (&id, "i-test")
        );
        let Some(Outcome::Frame(done)) = result.outcome else {
            panic!("expected a frame, got {result:?}");
        };
        assert_eq!(done.faces, 2);
        found.push(bench.faces(keys, 7).await);
    }
    assert_eq!((found[0].frame, found[0].at_seconds), (7, 3.5));
    let mut names: Vec<_> = found[0]
        .faces
        .iter()
        .map(|face| {
            assert!(!face.embedding.is_empty());
            face.recognition.as_ref().unwrap().name.as_str()
        })
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["elton_john", "madonna"]);
    assert_eq!(found[0], found[1]);
    bench.drained().await;
    assert_eq!(
        bench.results.keys().await.unwrap().len(),
        1,
        "one object a frame"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_without_faces_is_done_and_one_that_cannot_be_decoded_fails() {
    let (bench, worker) = Bench::with_worker().await;
    let keys = VideoKeys {
        video: JobId::random(),
    };
    let mut empty = Cursor::new(Vec::new());
    let sky = RgbImage::from_pixel(200, 200, image::Rgb([90, 140, 200]));
    sky.write_to(&mut empty, ImageFormat::Jpeg).unwrap();
    bench.store_frame(keys, 0, empty.get_ref()).await;
    bench.store_frame(keys, 1, b"no picture").await;
    bench.send(frame_job(keys, 0)).await;
    let Some(Outcome::Frame(done)) = bench.reply().await.outcome else {
        panic!("expected a frame");
    };
    assert_eq!(done.faces, 0);
    assert_eq!(bench.faces(keys, 0).await.faces, []);
    for (frame, expected) in [
        (1, FailureCode::NotAnImage),
        (2, FailureCode::ObjectMissing),
    ] {
        bench.send(frame_job(keys, frame)).await;
        let Some(Outcome::Failure(failure)) = bench.reply().await.outcome else {
            panic!("expected a failure");
        };
        assert_eq!(failure.code(), expected);
    }
    bench.drained().await;
    worker.stop().await;
}

/// A message must not make a worker read or write other objects than those of its frame.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_keys_that_are_not_those_of_its_frame_is_rejected() {
    let bench = Bench::start().await;
    let keys = VideoKeys {
        video: JobId::random(),
    };
    let good = frame_job(keys, 1);
    let frame = good.frame.clone().unwrap();
    let with = |frame| RecognitionJob {
        frame: Some(frame),
        ..good.clone()
    };
    let bad = [
        with(FrameJob {
            faces_key: "test_00".to_owned(),
            ..frame.clone()
        }),
        with(FrameJob {
            frame: 2,
            ..frame.clone()
        }),
        RecognitionJob {
            object_key: "test_00.jpg".to_owned(),
            ..good.clone()
        },
        // A photo's job has no folder.
        RecognitionJob {
            frame: None,
            ..good.clone()
        },
    ];
    let count = bad.len() as u64;
    for job in bad {
        bench.send(job).await;
    }
    let worker = bench.worker(&[]);
    testkit::eventually("all are in the dead-letter queue", async || {
        bench.dead_letters.counters().await.unwrap().visible == count
    })
    .await;
    assert_eq!(bench.results.keys().await.unwrap(), Vec::<String>::new());
    worker.stop().await;
}
