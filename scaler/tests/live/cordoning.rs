//! Cordoning, uncordoning and giving up workers.

use std::time::Duration;

use platform::fleet::PowerState;
use proto::v1::{InstanceState, WorkerState};

use crate::stage::{Stage, eventually};
use crate::wait::{start_one, until_listed, until_seen};
use crate::worker::Worker;

#[tokio::test]
async fn a_worker_that_received_work_meanwhile_is_not_stopped() {
    let stage = Stage::set(&[]).await;
    stage.create_queue().await;
    let id = start_one(&stage).await;
    let mut worker = Worker::attend(&stage, &id, WorkerState::Idle).await;
    stage.demand(0);
    // The order crosses a message: the worker is busy, and says so.
    let order = worker.is_cordoned().await;
    assert!(order);
    let cordoned_sequence = std::mem::take(&mut worker.sequence);
    worker.report(WorkerState::Busy).await;
    // A confirmation counts only if it acknowledges the order.
    worker.report(WorkerState::Cordoned).await;
    worker.report(WorkerState::Busy).await;
    until_seen(&stage, InstanceState::Draining, 1).await;
    for _ in 0..20 {
        worker.report(WorkerState::Busy).await;
        assert_eq!(stage.seen(InstanceState::Draining).await, 1);
        assert_eq!(stage.count(PowerState::Running).await, 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    worker.sequence = cordoned_sequence;
    worker.report(WorkerState::Cordoned).await;
    until_listed(&stage, PowerState::Stopped, 1).await;
    assert_eq!(stage.totals().await.busy_workers_stopped, 0);
}

#[tokio::test]
async fn a_worker_is_uncordoned_when_demand_returns() {
    let stage = Stage::set(&[]).await;
    stage.create_queue().await;
    let id = start_one(&stage).await;
    let mut worker = Worker::attend(&stage, &id, WorkerState::Busy).await;
    stage.demand(0);
    assert!(worker.is_cordoned().await);
    worker.report(WorkerState::Busy).await;
    stage.demand(1);
    assert!(!worker.is_cordoned().await);
    worker.report(WorkerState::Idle).await;
    until_seen(&stage, InstanceState::Idle, 1).await;
    assert_eq!(stage.instances().await.len(), 1);
    assert_eq!(stage.calls("StopInstances").await, 0);
}

#[tokio::test]
async fn a_booting_worker_can_be_cordoned_and_stopped() {
    let stage = Stage::set(&[]).await;
    stage.create_queue().await;
    let id = start_one(&stage).await;
    // The order waits for the worker.
    stage.demand(0);
    until_seen(&stage, InstanceState::Draining, 1).await;
    let mut worker = Worker::attend(&stage, &id, WorkerState::Booting).await;
    assert!(worker.is_cordoned().await);
    worker.report(WorkerState::Cordoned).await;
    until_listed(&stage, PowerState::Stopped, 1).await;
}

#[tokio::test]
async fn a_silent_worker_is_stopped_and_replaced() {
    let mut stage = Stage::without_scaler(&["--max-workers", "2"]).await;
    stage.silence_deadline = Some(Duration::from_millis(600));
    stage.start_scaler().await;
    let id = start_one(&stage).await;
    let worker = Worker::attend(&stage, &id, WorkerState::Busy).await;
    eventually("it is given up", async || {
        stage
            .status()
            .await
            .totals
            .is_some_and(|totals| totals.silent_workers_stopped == 1)
    })
    .await;
    drop(worker);
    eventually("another one runs", async || {
        stage
            .instances()
            .await
            .iter()
            .any(|it| it.id != id && it.state == PowerState::Running)
            || stage
                .status()
                .await
                .totals
                .is_some_and(|totals| totals.started == 1)
    })
    .await;
    assert_eq!(stage.totals().await.busy_workers_stopped, 0);
}

#[tokio::test]
async fn an_instance_whose_worker_never_attends_is_stopped() {
    let stage = Stage::set(&["--boot-deadline", "500ms", "--max-workers", "1"]).await;
    stage.demand(1);
    eventually("it is given up", async || {
        stage
            .status()
            .await
            .totals
            .is_some_and(|totals| totals.silent_workers_stopped >= 1)
    })
    .await;
}

#[tokio::test]
async fn a_worker_may_reconnect() {
    let stage = Stage::set(&["--silence-deadline", "10s"]).await;
    let id = start_one(&stage).await;
    let worker = Worker::attend(&stage, &id, WorkerState::Busy).await;
    until_seen(&stage, InstanceState::Busy, 1).await;
    drop(worker);
    for _ in 0..10 {
        assert_eq!(stage.seen(InstanceState::Busy).await, 1);
    }
    let worker = Worker::attend(&stage, &id, WorkerState::Idle).await;
    until_seen(&stage, InstanceState::Idle, 1).await;
    drop(worker);
}
