//! Scaling out and in, and takeover by a restarted scaler.

use platform::fleet::PowerState;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{InstanceState, WatchStatusRequest, WorkerState};

use crate::stage::{Stage, eventually};
use crate::wait::{all_stop, start_one, starts_at_once, until_listed, until_named, until_seen};
use crate::worker::{Worker, stage_with_workers};

#[tokio::test]
async fn from_zero_to_the_maximum_in_one_call_and_back_to_zero() {
    let (stage, _workers) = stage_with_workers(&["--max-workers", "5"]).await;
    stage.demand(100);
    until_seen(&stage, InstanceState::Idle, 5).await;
    assert_eq!(stage.calls("RunInstances").await, 1);
    assert_eq!(stage.calls("StartInstances").await, 0);
    until_named(&stage, 5).await;

    let totals = all_stop(&stage, 5, || stage.demand(0)).await;
    assert!(totals.first_start_at.is_some());

    stage.demand(3);
    until_listed(&stage, PowerState::Running, 3).await;
    assert_eq!(
        (
            stage.calls("RunInstances").await,
            stage.calls("StartInstances").await
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn stopped_instances_start_first_and_the_rest_is_launched() {
    let mut stage = Stage::without_scaler(&["--max-workers", "6"]).await;
    let prepared = stage.prepare_stopped(2).await;
    stage.start_scaler().await;
    until_seen(&stage, InstanceState::Stopped, 2).await;
    starts_at_once(&stage, || stage.demand(4)).await;
    until_listed(&stage, PowerState::Running, 4).await;
    let instances = stage.instances().await;
    assert!(
        prepared
            .iter()
            .all(|id| instances.iter().any(|it| it.id == *id))
    );
    assert_eq!(
        (
            stage.calls("StartInstances").await,
            stage.calls("RunInstances").await
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn a_restarted_scaler_takes_over_the_fleet() {
    let mut stage = Stage::set(&[]).await;
    stage.create_queue().await;
    stage.demand(2);
    until_listed(&stage, PowerState::Running, 2).await;
    let ids = stage.ids().await;
    stage.stop_scaler().await;
    assert_eq!(stage.count(PowerState::Running).await, 2);
    stage.start_scaler().await;
    let busy = Worker::attend(&stage, &ids[0], WorkerState::Busy).await;
    // The earlier scaler cordoned this worker.
    let mut cordoned = Worker::attend(&stage, &ids[1], WorkerState::Cordoned).await;
    assert!(cordoned.is_cordoned().await);
    cordoned.report(WorkerState::Cordoned).await;
    assert!(!cordoned.is_cordoned().await);
    cordoned.report(WorkerState::Idle).await;
    eventually("both are known", async || {
        stage.seen(InstanceState::Busy).await == 1 && stage.seen(InstanceState::Idle).await == 1
    })
    .await;
    assert_eq!(stage.instances().await.len(), 2);
    assert_eq!(stage.totals().await.launched, 0);
    drop(busy);
}

#[tokio::test]
async fn the_queue_replaces_a_lost_front() {
    let stage = Stage::set(&[]).await;
    stage.lose_front();
    let queue = stage.create_queue().await;
    for _ in 0..3 {
        queue.send("{}".to_owned()).await.unwrap();
    }
    until_listed(&stage, PowerState::Running, 3).await;
    assert_eq!(stage.status().await.observation.unwrap().unanswered, None);
}

#[tokio::test]
async fn watchers_receive_the_state_at_once_and_then_the_decisions() {
    let stage = Stage::set(&["--policy", "step", "--max-workers", "2"]).await;
    stage.status().await;
    let mut client = ScalerClient::new(stage.scaler.clone());
    let mut statuses = client
        .watch_status(WatchStatusRequest::default())
        .await
        .unwrap()
        .into_inner();
    statuses
        .message()
        .await
        .unwrap()
        .expect("the present state");
    stage.demand(7);
    loop {
        let status = statuses.message().await.unwrap().expect("a decision");
        let plan = status.plan.unwrap();
        if plan.launch > 0 {
            assert_eq!((plan.launch, plan.policy.as_str()), (2, "step"));
            assert_eq!(
                plan.reason,
                "7 requests unanswered, so 2 wanted, the maximum, 0 there: launch 2"
            );
            break;
        }
    }
}

#[tokio::test]
async fn the_minimum_is_kept() {
    let (stage, _workers) = stage_with_workers(&["--min-workers", "2"]).await;
    until_seen(&stage, InstanceState::Idle, 2).await;
    stage.demand(4);
    until_seen(&stage, InstanceState::Idle, 4).await;
    stage.demand(0);
    eventually("2 are left", async || {
        stage.count(PowerState::Running).await == 2 && stage.count(PowerState::Stopped).await == 2
    })
    .await;
}

#[tokio::test]
async fn an_unnamed_instance_gets_a_name() {
    let mut stage = Stage::without_scaler(&[]).await;
    let ids = stage.prepare_stopped(3).await;
    // An earlier scaler died between launching these and naming them.
    for id in &ids[1..] {
        stage
            .fleet()
            .set_name(id, proto::names::WORKER_INSTANCE)
            .await
            .unwrap();
    }
    stage.start_scaler().await;
    until_named(&stage, 3).await;
}

#[tokio::test]
async fn instances_are_launched_with_all_settings_and_the_image_is_described_once() {
    let arguments = [
        "--public-ip=false",
        "--disk-gb=20",
        "--disk-type=gp3",
        "--metadata-hop-limit=2",
        "--detailed-monitoring=true",
        "--subnet-id=subnet-1",
        "--security-group-id=sg-1",
        "--instance-profile=workers",
    ];
    let stage = Stage::set(&arguments).await;
    let first = start_one(&stage).await;
    stage.demand(2);
    until_listed(&stage, PowerState::Running, 2).await;
    assert_eq!(stage.calls("RunInstances").await, 2);
    assert_eq!(stage.calls("DescribeImages").await, 1);
    let all = stage.instances().await;
    let launch = |id: &str| all.iter().find(|it| it.id == id).unwrap().launch.clone();
    assert!(launch(&first).is_some());
    assert!(all.iter().all(|it| it.launch == launch(&first)), "{all:?}");
}
