//! A worker on localcloud's queue: every way that a job can end.

use std::time::{Duration, SystemTime};

use proto::v1::recognition_result::Outcome;
use proto::v1::{FailureCode, RecognitionJob, RecognitionResult};
use testkit::plain_queue;

use crate::support::{Bench, eventually, gray_photo, job, photo, slow_photo};

fn name(result: &RecognitionResult) -> &str {
    match &result.outcome {
        Some(Outcome::Recognition(recognition)) => &recognition.name,
        other => panic!("expected a name, got {other:?}"),
    }
}

fn failure(result: &RecognitionResult) -> FailureCode {
    match &result.outcome {
        Some(Outcome::Failure(failure)) => {
            assert!(!failure.message.is_empty() && !failure.message.contains('\n'));
            failure.code()
        }
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_is_named_stored_and_its_message_deleted() {
    let (bench, worker) = Bench::with_worker().await;
    let id = bench.submit("test_00.jpg", &photo("madonna")).await;
    let result = bench.reply().await;
    assert_eq!(result.job_id, id);
    assert_eq!(name(&result), "madonna");
    assert_eq!(result.instance_id, "i-test");
    assert!(result.timings.unwrap().embed_ms > 0.0);
    assert_eq!(bench.result("test_00").await, "test_00:madonna");
    bench.drained().await;
    worker.stop().await;
}

/// A worker ended when its first call failed, for instance because the credentials took longer than a second on a busy
/// machine, and the scaler paid for another boot.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_first_calls_fail_tries_again() {
    let bench = Bench::start().await;
    bench.refuse("GetQueueUrl").await;
    let worker = bench.worker(&[]);
    // The SDK itself makes three attempts.
    eventually("the worker has tried again", async || {
        bench.cloud.answers("GetQueueUrl", 503).await > 3
    })
    .await;
    bench.cloud.inject("{}").await;
    bench.submit("test_00.jpg", &photo("madonna")).await;
    assert_eq!(name(&bench.reply().await), "madonna");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_photos_are_replied_to_with_a_reason_and_leave_no_result() {
    let (bench, worker) = Bench::with_worker().await;
    let whole = photo("madonna");
    let mut plain = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(200, 200, image::Rgb([90, 140, 200]))
        .write_to(&mut plain, image::ImageFormat::Png)
        .unwrap();
    let cases: [(&str, &[u8], FailureCode); 3] = [
        (
            "text.jpg",
            b"hello, this is no photo",
            FailureCode::NotAnImage,
        ),
        (
            "truncated.jpg",
            &whole[..whole.len() / 2],
            FailureCode::DamagedImage,
        ),
        ("sky.png", plain.get_ref(), FailureCode::NoFace),
    ];
    for (file_name, bytes, expected) in cases {
        let id = bench.submit(file_name, bytes).await;
        let result = bench.reply().await;
        assert_eq!(
            (result.job_id.as_str(), failure(&result)),
            (id.as_str(), expected),
            "{file_name}"
        );
    }
    bench.drained().await;
    assert_eq!(bench.results.keys().await.unwrap(), Vec::<String>::new());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_photo_or_after_its_deadline_is_replied_to_with_the_reason() {
    let (bench, worker) = Bench::with_worker().await;
    bench.send(job("never-stored.jpg")).await;
    assert_eq!(failure(&bench.reply().await), FailureCode::ObjectMissing);
    bench.drained().await;
    worker.stop().await;
}

/// If two machines' clocks were compared, a worker with a fast clock would refuse every job.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_expires_by_its_time_in_the_queue_and_not_by_the_clock() {
    let bench = Bench::start().await;
    bench.put("late.jpg", &photo("madonna")).await;
    let expired = RecognitionJob {
        time_to_live_ms: 1,
        ..job("late.jpg")
    };
    bench.send(expired).await;
    let passed = SystemTime::now() - Duration::from_secs(1);
    let early = RecognitionJob {
        deadline: Some(passed.into()),
        ..job("late.jpg")
    };
    let early = bench.send(early).await;
    let worker = bench.worker(&[]);
    for _ in 0..2 {
        let result = bench.reply().await;
        if result.job_id == early {
            assert_eq!(name(&result), "madonna");
        } else {
            assert_eq!(failure(&result), FailureCode::DeadlineExceeded);
        }
    }
    bench.drained().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_expires_during_an_outage_of_the_store_is_replied_to() {
    let bench = Bench::without_buckets().await;
    let worker = bench.worker(&[]);
    bench
        .send(RecognitionJob {
            time_to_live_ms: 1_500,
            ..job("x.jpg")
        })
        .await;
    assert_eq!(failure(&bench.reply().await), FailureCode::DeadlineExceeded);
    bench.drained().await;
    assert_eq!(bench.dead_letters.counters().await.unwrap().visible, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_takes_too_long_is_replied_to_and_ends_the_worker() {
    let bench = Bench::start().await;
    let worker = bench.worker(&["--max-job-time", "1ms"]);
    bench.submit("slow.png", &slow_photo()).await;
    let result = bench.reply().await;
    assert_eq!(failure(&result), FailureCode::Internal);
    let error = worker.ended.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("--max-job-time"), "{error}");
    bench.drained().await;
}

/// The worker's limit was a constant, so that it refused what front accepted. Front has a test of the same name.
#[tokio::test(flavor = "multi_thread")]
async fn both_halves_obey_a_raised_pixel_limit() {
    let bench = Bench::start().await;
    // 42 megapixels; the default limit is 40.
    let photo = gray_photo(6_500);
    for (arguments, expected) in [
        (&[] as &[&str], FailureCode::TooManyPixels),
        (&["--max-pixels", "50000000"], FailureCode::NoFace),
    ] {
        let worker = bench.worker(arguments);
        bench.submit("large.png", &photo).await;
        assert_eq!(failure(&bench.reply().await), expected);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_leaves_the_jobs_that_take_longer_than_its_deadline() {
    let bench = Bench::start().await;
    let worker = bench.worker(&["--drain-deadline", "0"]);
    bench.submit("slow.png", &slow_photo()).await;
    bench.in_flight(1).await;
    worker.stop().await;
    // The message returns, and the next worker takes it.
    let worker = bench.worker(&[]);
    assert_eq!(failure(&bench.reply().await), FailureCode::NoFace);
    worker.stop().await;
}

/// Front deletes a bad photo. Another client may store a photo under its key before a second job for it is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_took_the_place_of_another_is_not_named() {
    let (bench, worker) = Bench::with_worker().await;
    bench.put("x.jpg", &photo("madonna")).await;
    bench
        .send(RecognitionJob {
            photo_sha256: "0123456789abcdef".repeat(4),
            ..job("x.jpg")
        })
        .await;
    assert_eq!(failure(&bench.reply().await), FailureCode::ObjectMissing);
    bench.drained().await;
    assert_eq!(bench.results.keys().await.unwrap(), Vec::<String>::new());
    worker.stop().await;
}

/// A front's reply queue ends with it. Other fronts serve what is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_reply_queue_is_gone_is_done_kept_and_deleted() {
    let (bench, worker) = Bench::with_worker().await;
    bench.put("x.jpg", &photo("madonna")).await;
    let orphan = bench
        .send(RecognitionJob {
            reply_queue: "missing-queue".to_owned(),
            ..job("x.jpg")
        })
        .await;
    let id = bench.submit("test_00.jpg", &photo("madonna")).await;
    assert_eq!(bench.reply().await.job_id, id);
    bench.drained().await;
    assert_eq!(bench.result("x").await, "x:madonna");
    assert_eq!(name(&kept(&bench, &orphan).await), "madonna");
    worker.stop().await;
}

async fn kept(bench: &Bench, id: &str) -> RecognitionResult {
    let key = proto::names::kept_result(id.parse().unwrap());
    let body = bench.results.get(&key).await.unwrap();
    proto::decode(std::str::from_utf8(&body).unwrap()).unwrap()
}

/// The worker has the queue's URL and sends without looking it up again.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_reply_queue_was_deleted_meanwhile_is_done_kept_and_deleted() {
    let bench = Bench::start().await;
    let attributes = plain_queue(Duration::from_secs(3));
    let ensured = bench.aws.ensure_queue("passing-front", &attributes).await;
    let replies = ensured.unwrap();
    let worker = bench.worker(&[]);
    let of_passing_front = |file_name: &str| RecognitionJob {
        reply_queue: "passing-front".to_owned(),
        ..job(file_name)
    };
    for (key, is_deleted) in [("x", false), ("y", true)] {
        let file_name = format!("{key}.jpg");
        bench.put(&file_name, &photo("madonna")).await;
        if is_deleted {
            replies.clone().delete_queue().await.unwrap();
        }
        let id = bench.send(of_passing_front(&file_name)).await;
        eventually("the job is done", async || {
            bench.results.metadata(key).await.is_ok()
        })
        .await;
        bench.drained().await;
        if is_deleted {
            assert_eq!(name(&kept(&bench, &id).await), "madonna");
        }
    }
    assert_eq!(bench.dead_letters.counters().await.unwrap().visible, 0);
    worker.stop().await;
}

/// A lease is extended by the timeout that the queue had when the worker started. With the queue's new one, each message would
/// be received again before its lease is extended.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_hidden_by_the_timeout_of_its_lease_after_the_queues_own_was_cut() {
    let (bench, worker) = Bench::with_worker().await;
    // The worker has read the queue's timeout.
    bench.submit("first.jpg", &photo("madonna")).await;
    assert_eq!(name(&bench.reply().await), "madonna");
    bench.drained().await;
    let attributes = plain_queue(Duration::ZERO);
    let requests = bench.requests.name();
    let changed = bench.aws.ensure_queue(requests, &attributes).await;
    let timeout = changed.unwrap().visibility_timeout().await.unwrap();
    assert_eq!(timeout, Duration::ZERO);
    let id = bench.submit("slow.png", &slow_photo()).await;
    bench.in_flight(1).await;
    assert_eq!(bench.reply().await.job_id, id);
    bench.drained().await;
    worker.stop().await;
}

/// Front drops the second reply.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_reply_and_delete_leaves_a_job_that_another_one_does_again() {
    let bench = Bench::start().await;
    bench.refuse("DeleteMessageBatch").await;
    let mut killed = bench.worker_process(&[]);
    let id = bench.submit("x.jpg", &photo("madonna")).await;
    let first = bench.reply().await;
    killed.kill().await;
    bench.cloud.inject("{}").await;
    let worker = bench.worker(&[]);
    let second = bench.reply().await;
    assert_eq!([&first.job_id, &second.job_id], [&id, &id]);
    assert_eq!([name(&first), name(&second)], ["madonna"; 2]);
    bench.drained().await;
    assert_eq!(bench.results.keys().await.unwrap(), ["x"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_a_job_ends_in_the_dead_letter_queue_after_five_receives() {
    let (bench, worker) = Bench::with_worker().await;
    bench
        .requests
        .send("this is no job".to_owned())
        .await
        .unwrap();
    eventually("the message is in the dead-letter queue", async || {
        bench.dead_letters.counters().await.unwrap().visible == 1
    })
    .await;
    bench.drained().await;
    let dead = bench.dead_letters.receive(1, Duration::ZERO).await.unwrap();
    assert_eq!(dead[0].body, "this is no job");
    worker.stop().await;
}

/// Giving the message back would use up its five receives within a minute, and its client would get an error.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_delays_a_job_and_does_not_dead_letter_it() {
    // The first call installs the recorder.
    drop(platform::telemetry::render_metrics());
    let bench = Bench::without_results().await;
    let worker = bench.worker(&[]);
    let id = bench.submit("patient.jpg", &photo("madonna")).await;
    eventually("the worker retries", async || {
        platform::telemetry::render_metrics().contains("muster_worker_store_retries_total")
    })
    .await;
    assert_eq!(bench.requests.counters().await.unwrap().in_flight, 1);
    bench.results.ensure().await.unwrap();
    let result = bench.reply().await;
    assert_eq!(
        (result.job_id.as_str(), name(&result)),
        (id.as_str(), "madonna")
    );
    assert_eq!(bench.dead_letters.counters().await.unwrap().visible, 0);
    worker.stop().await;
}

/// Two photos whose names differ only in the extension must not overwrite each other's result.
#[tokio::test(flavor = "multi_thread")]
async fn results_of_other_photos_are_never_overwritten() {
    let (bench, worker) = Bench::with_worker().await;
    bench.submit("same.jpg", &photo("madonna")).await;
    assert_eq!(name(&bench.reply().await), "madonna");
    bench.submit("same.jpeg", &photo("elton_john")).await;
    assert_eq!(name(&bench.reply().await), "elton_john");
    assert_eq!(bench.result("same").await, "same:madonna");
    let keys = bench.results.keys().await.unwrap();
    assert_eq!(keys.len(), 2);
    let derived = keys.iter().find(|key| key.starts_with("same~")).unwrap();
    assert_eq!(bench.result(derived).await, "same:elton_john");

    // The same photo replaces its own result: at-least-once delivery makes no copies.
    bench.submit("same.jpg", &photo("madonna")).await;
    bench.reply().await;
    bench.submit("same.jpeg", &photo("elton_john")).await;
    bench.reply().await;
    assert_eq!(bench.results.keys().await.unwrap().len(), 2);
    worker.stop().await;
}

/// Found by reading for the simulation: the name with the digest was replaced without a look.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_under_the_name_with_another_photos_digest_stays() {
    let (bench, worker) = Bench::with_worker().await;
    let of_elton = worker::service::pure::digest(&photo("elton_john"));
    let derived = format!("same~{}", &of_elton[..16]);
    for (file_name, person) in [
        ("same.jpg", "madonna"),
        (format!("{derived}.jpg").as_str(), "madonna"),
        ("same.jpeg", "elton_john"),
    ] {
        bench.submit(file_name, &photo(person)).await;
        assert_eq!(name(&bench.reply().await), person);
    }
    assert_eq!(bench.result("same").await, "same:madonna");
    assert_eq!(bench.result(&derived).await, format!("{derived}:madonna"));
    let result = bench.result(&format!("same~{of_elton}")).await;
    assert_eq!(result, "same:elton_john");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_asked_to_stop_finishes_the_job_in_flight() {
    let (bench, worker) = Bench::with_worker().await;
    bench.submit("last.jpg", &photo("madonna")).await;
    eventually("the job is in flight", async || {
        bench.requests.counters().await.unwrap().visible == 0
    })
    .await;
    worker.stop().await;
    assert_eq!(name(&bench.reply().await), "madonna");
    bench.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_end_while_it_waits_for_messages_hides_none() {
    let (bench, worker) = Bench::with_worker().await;
    bench.submit("first.jpg", &photo("madonna")).await;
    bench.reply().await;
    bench.drained().await;
    // It waits for messages again. The next one comes together with the order.
    worker.shutdown.cancel();
    bench.submit("next.jpg", &photo("madonna")).await;
    worker.ended.await.unwrap().unwrap();
    let counters = bench.requests.counters().await.unwrap();
    assert_eq!(counters.in_flight, 0, "{counters:?}");
    if counters.visible == 0 {
        assert_eq!(name(&bench.reply().await), "madonna");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_gallery_says_how_to_make_one() {
    let bench = Bench::start().await;
    let worker = bench.worker(&["--gallery", "/nonexistent/gallery.safetensors"]);
    let error = format!("{:#}", worker.ended.await.unwrap().unwrap_err());
    assert!(
        error.contains("worker enrol") && error.contains("/nonexistent/"),
        "{error}"
    );
}
