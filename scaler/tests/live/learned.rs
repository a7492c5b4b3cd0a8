//! Times of workers that last across restarts of the scaler.

use platform::fleet::PowerState;
use platform::objects::Metadata;
use proto::v1::{InstanceState, ListDecisionsRequest, WorkerState};
use serde_json::{Value, json};

use crate::explaining::list;
use crate::stage::{Stage, eventually};
use crate::wait::{start_one, until_listed, until_seen};
use crate::worker::Worker;

const KEY: &str = "learned.json";

/// The object with a service time of 80 ms for the stage's kind of worker.
fn of_80_ms() -> Value {
    json!({"version": 1, "workers": [{
        "instance_types": ["c7i.large"], "image": "ami-muster-worker", "engine": "", "at_s": 1,
        "service": {"mean": 0.08, "spread": 0.01, "samples": 50},
        "boot": {"mean": 8.0, "spread": 1.0, "samples": 3},
        "frame": null,
    }]})
}

/// A stage whose scaler has not begun, in whose bucket is this object.
async fn stage_with(object: String, policy: &str) -> Stage {
    let stage = Stage::without_scaler(&["--policy", policy]).await;
    let bucket = stage.bucket();
    bucket.ensure().await.unwrap();
    bucket
        .put(KEY, object.into(), Metadata::new())
        .await
        .unwrap();
    stage
}

async fn kept(stage: &Stage) -> Value {
    let bucket = stage.bucket();
    let object = bucket.get(KEY).await.unwrap();
    serde_json::from_slice(&object).unwrap()
}

/// The reason of the first decision that launched.
async fn launch_reason(stage: &Stage) -> String {
    // Waits for a scaler that is starting.
    stage.status().await;
    let mut reason = None;
    eventually("it launches", async || {
        let listed = list(stage, ListDecisionsRequest::default()).await;
        let mut plans = listed.into_iter().filter_map(|it| it.plan);
        reason = plans.find(|plan| plan.launch > 0).map(|plan| plan.reason);
        reason.is_some()
    })
    .await;
    reason.unwrap()
}

#[tokio::test]
async fn a_restarted_scaler_starts_as_many_as_the_times_it_measured_before_need() {
    let mut stage = Stage::set(&["--policy", "latency"]).await;
    stage.create_queue().await;
    let id = start_one(&stage).await;
    let worker = Worker::attend(&stage, &id, WorkerState::Busy).await;
    until_seen(&stage, InstanceState::Busy, 1).await;
    stage.demand(1);
    // The worker replies to so many at once that however slow this machine is, one worker does 100 in time.
    eventually("the service time is measured", async || {
        stage.answer(1_000);
        worker.report(WorkerState::Busy).await;
        let estimates = stage.status().await.estimates.unwrap_or_default();
        estimates.service.unwrap_or_default().samples > 0
    })
    .await;
    stage.demand(0);
    stage.stop_scaler().await;
    let object = kept(&stage).await;
    let times = &object["workers"][0];
    assert_eq!(times["instance_types"], json!(["c7i.large"]), "{object}");
    for name in ["service", "boot"] {
        assert!(times[name]["mean"].as_f64().unwrap() > 0.0, "{object}");
        assert!(times[name]["samples"].as_u64().unwrap() > 0, "{object}");
    }
    drop(worker);
    stage.fleet().terminate(&[id]).await.unwrap();
    eventually("it is gone", async || stage.instances().await.is_empty()).await;
    stage.demand(100);
    stage.start_scaler().await;
    let reason = launch_reason(&stage).await;
    assert!(reason.contains("(learned before) each"), "{reason}");
    assert!(reason.contains("so 1 wanted"), "{reason}");
    until_listed(&stage, PowerState::Running, 1).await;
    assert_eq!(stage.calls("RunInstances").await, 2);
}

#[tokio::test]
async fn a_hundred_requests_start_five_workers_of_80_ms_each() {
    let mut stage = stage_with(of_80_ms().to_string(), "latency").await;
    stage.demand(100);
    stage.start_scaler().await;
    let reason = launch_reason(&stage).await;
    let expected = "100 requests unanswered, 80 ms (learned before) each, so 5 wanted, 0 there: launch 5; a boot takes \
                    8.0 s (learned before)";
    assert_eq!(reason, expected);
    until_listed(&stage, PowerState::Running, 5).await;
    // Nothing was measured since.
    stage.stop_scaler().await;
    assert_eq!(kept(&stage).await, of_80_ms());
}

#[tokio::test]
async fn a_hundred_requests_start_the_maximum_under_step() {
    let mut stage = stage_with(of_80_ms().to_string(), "step").await;
    stage.demand(100);
    stage.start_scaler().await;
    let reason = launch_reason(&stage).await;
    assert!(reason.contains("so 15 wanted, the maximum"), "{reason}");
    until_listed(&stage, PowerState::Running, 15).await;
}

#[tokio::test]
async fn what_cannot_have_been_learned_is_ignored() {
    let mut hours = of_80_ms();
    hours["workers"][0]["service"]["mean"] = json!(7_200.0);
    let mut others = of_80_ms();
    others["workers"][0]["image"] = json!("ami-other");
    let damaged = "{\"version\": 1, \"work".to_owned();
    for object in [damaged, hours.to_string(), others.to_string()] {
        let mut stage = stage_with(object.clone(), "latency").await;
        stage.demand(1);
        stage.start_scaler().await;
        let reason = launch_reason(&stage).await;
        assert!(reason.contains("500 ms (assumed)"), "{object}: {reason}");
        let id = start_one(&stage).await;
        let _worker = Worker::attend(&stage, &id, WorkerState::Busy).await;
        until_seen(&stage, InstanceState::Busy, 1).await;
        stage.stop_scaler().await;
        // The boot was measured.
        let object = kept(&stage).await;
        let entries = object["workers"].as_array().unwrap();
        let mine = entries.iter().find(|it| it["image"] == "ami-muster-worker");
        let boot = &mine.unwrap()["boot"];
        assert!(
            boot["samples"].as_u64() > boot["learned"].as_u64(),
            "{object}"
        );
    }
}

#[tokio::test]
async fn a_newer_object_is_not_overwritten() {
    let newer = json!({"version": 2, "workers": {"c7i.large": {"service_ms": 80}}});
    let mut stage = stage_with(newer.to_string(), "latency").await;
    stage.demand(1);
    stage.start_scaler().await;
    let reason = launch_reason(&stage).await;
    assert!(reason.contains("500 ms (assumed)"), "{reason}");
    let id = start_one(&stage).await;
    let _worker = Worker::attend(&stage, &id, WorkerState::Busy).await;
    until_seen(&stage, InstanceState::Busy, 1).await;
    // It has measured a boot, which it would write.
    stage.stop_scaler().await;
    assert_eq!(kept(&stage).await, newer);
}
