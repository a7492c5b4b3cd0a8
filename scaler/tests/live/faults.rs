//! Fault injection: the scaler against EC2's lags, lacks of capacity, failed boots and slow boots.

use std::sync::Arc;
use std::time::Duration;

use localcloud::{Capacity, Ec2Faults};
use platform::fleet::PowerState;
use proto::v1::InstanceState;
use tokio_util::sync::DropGuard;

use crate::stage::{Stage, eventually};
use crate::wait::{until_listed, until_named, until_seen};
use crate::worker::run_workers;

/// A scaler in a cloud with these faults, and idle workers.
async fn stage(ec2: Ec2Faults, arguments: &[&str]) -> (Arc<Stage>, DropGuard) {
    let mut stage = Stage::with_faults(ec2, arguments).await;
    stage.create_queue().await;
    stage.start_scaler().await;
    let stage = Arc::new(stage);
    let workers = run_workers(&stage);
    (stage, workers)
}

#[tokio::test]
async fn launches_that_ec2_does_not_list_yet_are_awaited_and_not_repeated() {
    let ec2 = Ec2Faults {
        describe_lag: Duration::from_secs(2),
        ..Ec2Faults::default()
    };
    let (stage, _workers) = stage(ec2, &["--max-workers", "5"]).await;
    stage.demand(3);
    until_seen(&stage, InstanceState::Idle, 3).await;
    until_named(&stage, 3).await;
    assert_eq!(stage.calls("RunInstances").await, 1);
    assert_eq!(stage.totals().await.launched, 3);
    // One rename of each instance may come before EC2 knows it.
    let refused = stage.cloud.answers("CreateTags", 400).await;
    println!("{refused} times not found");
    assert!(refused <= 3, "{refused} times not found");
}

#[tokio::test]
async fn instances_beyond_the_first_subnets_capacity_are_launched_in_the_second() {
    let ec2 = Ec2Faults {
        capacity: vec![Capacity {
            instance_type: None,
            subnet: Some("subnet-1".to_owned()),
            instances: 2,
        }],
        ..Ec2Faults::default()
    };
    let arguments = ["--max-workers=5", "--subnet-id=subnet-1,subnet-2"];
    let (stage, _workers) = stage(ec2, &arguments).await;
    stage.demand(5);
    until_seen(&stage, InstanceState::Idle, 5).await;
    // The first takes two and the second three, with one call each.
    assert_eq!(stage.calls("RunInstances").await, 2);
    assert_eq!(stage.cloud.answers("RunInstances", 500).await, 0);
    assert_eq!(stage.instances().await.len(), 5);
    assert_eq!(stage.totals().await.launched, 5);
}

#[tokio::test]
async fn a_failed_boot_is_counted_and_replaced() {
    let ec2 = Ec2Faults {
        fail_boot_every: 3,
        ..Ec2Faults::default()
    };
    let arguments = ["--max-workers=4", "--boot-deadline=3s"];
    let (stage, _workers) = stage(ec2, &arguments).await;
    stage.demand(4);
    until_seen(&stage, InstanceState::Idle, 4).await;
    let totals = stage.totals().await;
    assert_eq!(
        (totals.silent_workers_stopped, totals.busy_workers_stopped),
        (1, 0)
    );
    assert_eq!(totals.launched + totals.started, 5);
    assert_eq!(stage.count(PowerState::Running).await, 4);
}

#[tokio::test]
async fn nothing_is_launched_in_place_of_pending_instances() {
    let ec2 = Ec2Faults {
        boot_delay: Duration::from_millis(500),
        ..Ec2Faults::default()
    };
    let (stage, _workers) = stage(ec2, &["--max-workers", "6"]).await;
    stage.demand(3);
    until_listed(&stage, PowerState::Pending, 3).await;
    until_seen(&stage, InstanceState::Idle, 3).await;
    assert_eq!(stage.instances().await.len(), 3);
    assert_eq!(stage.calls("RunInstances").await, 1);
    assert_eq!(stage.totals().await.launched, 3);
}

#[tokio::test]
async fn spot_instances_are_terminated_when_demand_ends() {
    let arguments = ["--max-workers=2", "--market=spot", "--billing-minimum=0s"];
    let (stage, _workers) = stage(Ec2Faults::default(), &arguments).await;
    stage.demand(2);
    until_seen(&stage, InstanceState::Idle, 2).await;
    assert!(stage.instances().await.iter().all(|it| it.spot));
    stage.demand(0);
    eventually("they are gone", async || stage.instances().await.is_empty()).await;
    assert_eq!(stage.calls("StopInstances").await, 0);
    assert!(stage.calls("TerminateInstances").await >= 1);
}
