//! Several jobs in flight in one worker.

use std::path::PathBuf;

use proto::v1::worker_order::Order;
use proto::v1::{Cordon, WorkerState};

use crate::attend::scaler;
use crate::support::{Bench, job, photo, slow_photo};

const TWO_THREADS: [&str; 2] = ["--inference-threads", "2"];

/// A bench with jobs for two slow photos, and their ids in order.
async fn two_slow_jobs() -> (Bench, Vec<String>) {
    let bench = Bench::start().await;
    let photo = slow_photo();
    let mut ids = vec![
        bench.submit("one.png", &photo).await,
        bench.submit("two.png", &photo).await,
    ];
    ids.sort();
    (bench, ids)
}

async fn two_replies(bench: &Bench) -> Vec<String> {
    let mut ids = vec![bench.reply().await.job_id, bench.reply().await.job_id];
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_as_many_jobs_in_flight_as_inference_threads() {
    let (bench, ids) = two_slow_jobs().await;
    let worker = bench.worker(&TWO_THREADS);
    bench.in_flight(2).await;
    assert_eq!(two_replies(&bench).await, ids);
    bench.drained().await;
    worker.stop().await;
}

/// Other workers may be idle.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_one_thread_takes_one_job_at_a_time() {
    let (bench, ids) = two_slow_jobs().await;
    let worker = bench.worker(&["--inference-threads", "1"]);
    bench.in_flight(1).await;
    assert_eq!(bench.requests.counters().await.unwrap().visible, 1);
    assert_eq!(two_replies(&bench).await, ids);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordon_is_confirmed_only_after_the_replies_of_all_jobs_in_flight() {
    let (bench, ids) = two_slow_jobs().await;
    let mut control = scaler().await;
    let worker = bench.worker(&[&TWO_THREADS[..], &["--scaler", &control.url]].concat());
    let mut session = control.sessions.recv().await.unwrap();
    session.until(WorkerState::Busy, 0).await;
    bench.in_flight(2).await;
    session.order(1, Order::Cordon(Cordon {})).await;
    let seen = session.until(WorkerState::Cordoned, 1).await;
    assert!(!seen.contains(&WorkerState::Idle), "{seen:?}");
    assert_eq!(bench.replies.counters().await.unwrap().visible, 2);
    assert_eq!(bench.requests.counters().await.unwrap().in_flight, 0);
    assert_eq!(two_replies(&bench).await, ids);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_asked_to_stop_finishes_all_jobs_in_flight() {
    let (bench, ids) = two_slow_jobs().await;
    let worker = bench.worker(&TWO_THREADS);
    bench.in_flight(2).await;
    worker.stop().await;
    assert_eq!(bench.requests.counters().await.unwrap().in_flight, 0);
    assert_eq!(two_replies(&bench).await, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_do_not_grow_with_the_number_of_jobs() {
    const JOBS: usize = 100;
    let bench = Bench::start().await;
    let arguments = ["--jobs", &JOBS.to_string()];
    let worker = bench.worker_process(&[&TWO_THREADS[..], &arguments].concat());
    let threads = PathBuf::from(format!("/proc/{}/task", worker.id()));
    let threads = || std::fs::read_dir(&threads).unwrap().count();
    bench.submit("same.jpg", &photo("madonna")).await;
    bench.reply().await;
    let at_first = threads();
    for _ in 0..JOBS {
        bench.send(job("same.jpg")).await;
    }
    for _ in 0..JOBS {
        assert!(threads() <= at_first);
        bench.reply().await;
    }
    assert!(threads() <= at_first);
    bench.drained().await;
}
