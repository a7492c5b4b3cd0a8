//! Instances of an old image, or with old user data.

use std::sync::Arc;

use platform::fleet::PowerState;
use proto::v1::{InstanceState, WorkerState};
use tokio::sync::watch;

use crate::stage::{NEW_IMAGE, Stage, eventually};
use crate::wait::{start_one, until_listed, until_seen};
use crate::worker::{Worker, run_workers};

/// A scaler with two stopped instances in its pool, restarted with another image.
async fn with_old_pool(arguments: &[&str]) -> (Stage, Vec<String>) {
    let mut stage = Stage::without_scaler(arguments).await;
    stage.create_queue().await;
    let old = stage.prepare_stopped(2).await;
    stage.configure(&["--image-id", NEW_IMAGE]);
    (stage, old)
}

#[tokio::test]
async fn stopped_instances_of_an_old_image_are_terminated_and_replaced() {
    let (mut stage, old) = with_old_pool(&["--max-workers=2", "--billing-minimum=0s"]).await;
    stage.demand(2);
    stage.start_scaler().await;
    until_listed(&stage, PowerState::Running, 2).await;
    for instance in stage.instances().await {
        assert!(!old.contains(&instance.id), "{instance:?}");
        eventually("it runs", async || stage.has_process(&instance.id)).await;
        assert_eq!(stage.image(&instance.id), NEW_IMAGE);
    }
    eventually("the old ones are counted as terminated", async || {
        stage.totals().await.terminated == 2
    })
    .await;
    assert_eq!(stage.totals().await.stopped, 0);
    assert_eq!(stage.calls("StartInstances").await, 0);
    // The new ones are current: they go back to the pool.
    let stage = Arc::new(stage);
    let _workers = run_workers(&stage);
    until_seen(&stage, InstanceState::Idle, 2).await;
    stage.demand(0);
    until_listed(&stage, PowerState::Stopped, 2).await;
    assert_eq!(stage.instances().await.len(), 2);
}

#[tokio::test]
async fn a_worker_with_old_user_data_finishes_its_job_before_it_is_replaced() {
    let user_data = tempfile::NamedTempFile::new().unwrap();
    let write = |version: u32| {
        let text = format!("VERSION={version}\nMUSTER_FLEET_TOKEN=@MUSTER_FLEET_TOKEN@\n");
        std::fs::write(user_data.path(), text).unwrap();
    };
    write(1);
    let file = format!("--user-data-file={}", user_data.path().display());
    let mut stage = Stage::set(&["--max-workers=1", "--billing-minimum=0s", &file]).await;
    stage.create_queue().await;
    let old = start_one(&stage).await;
    stage.stop_scaler().await;
    write(2);
    stage.start_scaler().await;
    let (done, work) = watch::channel(true);
    let worker = Worker::attend(&stage, &old, WorkerState::Busy).await;
    let worker = tokio::spawn(worker.run_busy(work));
    eventually("the scaler sees it busy and outdated", async || {
        let observation = stage.status().await.observation.unwrap_or_default();
        let mut instances = observation.instances.iter();
        instances.any(|it| it.state() == InstanceState::Busy && it.outdated)
    })
    .await;
    stage.demand(0);
    until_seen(&stage, InstanceState::Draining, 1).await;
    assert_eq!(stage.count(PowerState::Running).await, 1);
    done.send_replace(false);
    eventually("it is gone", async || stage.instances().await.is_empty()).await;
    worker.abort();
    assert_eq!(stage.calls("StopInstances").await, 0);
    // EC2 no longer lists it before the scaler has the reply.
    eventually("it is counted", async || {
        let totals = stage.totals().await;
        (totals.stopped, totals.terminated) == (1, 1)
    })
    .await;
    let totals = stage.totals().await;
    assert_eq!(totals.busy_workers_stopped, 0);
    let new = start_one(&stage).await;
    assert_ne!(new, old);
    eventually("it has the new user data", async || {
        stage.user_data(&new).contains("VERSION=2")
    })
    .await;
}

#[tokio::test]
async fn without_the_permission_to_terminate_old_instances_are_started_again() {
    let (mut stage, old) = with_old_pool(&["--max-workers=2"]).await;
    let denied = r#"{"call": [{"service": "ec2", "action": "TerminateInstances", "error": {"code": "UnauthorizedOperation", "status": 403}}]}"#;
    stage.cloud.inject(denied).await;
    stage.start_scaler().await;
    eventually("EC2 refuses", async || {
        stage.cloud.answers("TerminateInstances", 403).await > 0
    })
    .await;
    // The scaler learns that later than EC2 counts it.
    until_seen(&stage, InstanceState::Stopped, 2).await;
    stage.demand(2);
    until_listed(&stage, PowerState::Running, 2).await;
    let mut started = stage.ids().await;
    started.sort();
    let mut old = old;
    old.sort();
    assert_eq!(started, old);
}

/// Another scaler of the prefix, with the same settings and the token in the bucket, takes the pool over.
#[tokio::test]
async fn the_pool_of_another_scaler_with_the_same_settings_is_not_outdated() {
    let mut stage = Stage::without_scaler(&["--max-workers=2"]).await;
    stage.create_queue().await;
    let pool = stage.prepare_stopped(2).await;
    stage.start_scaler().await;
    stage.demand(2);
    until_listed(&stage, PowerState::Running, 2).await;
    let started = stage.ids().await;
    assert!(started.iter().all(|id| pool.contains(id)), "{started:?}");
    assert_eq!(stage.calls("TerminateInstances").await, 0);
}
