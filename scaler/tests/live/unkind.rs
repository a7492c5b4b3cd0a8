//! The scaler in a cloud that does what AWS does on a bad day.

use std::sync::Arc;
use std::time::Duration;

use localcloud::{Capacity, Ec2Faults};
use platform::fleet::PowerState;
use proto::v1::InstanceState;

use crate::stage::{Stage, eventually};
use crate::worker::staff;

async fn stage(ec2: Ec2Faults, arguments: &[&str]) -> Arc<Stage> {
    let mut stage = Stage::unkind(ec2, arguments).await;
    stage.create_queue().await;
    stage.start_scaler().await;
    Arc::new(stage)
}

async fn idle(stage: &Stage, count: usize) {
    eventually("they are idle", async || {
        stage.seen(InstanceState::Idle).await == count
    })
    .await;
}

#[tokio::test]
async fn launches_that_ec2_does_not_know_yet_are_awaited_named_and_not_made_twice() {
    let ec2 = Ec2Faults {
        describe_lag: Duration::from_secs(2),
        ..Ec2Faults::default()
    };
    let stage = stage(ec2, &["--max-workers", "5"]).await;
    let _workers = staff(&stage);
    stage.demand(3);
    idle(&stage, 3).await;
    eventually("they are named", async || {
        let instances = stage.instances().await;
        instances
            .into_iter()
            .map(|it| it.name)
            .eq([1, 2, 3].map(proto::names::worker_instance))
    })
    .await;
    assert_eq!(stage.calls("RunInstances").await, 1);
    assert_eq!(stage.status().await.totals.unwrap().launched, 3);
    // Each instance may be asked for once before EC2 knows it; more would be a storm.
    let refused = stage.answers("CreateTags", 400).await;
    println!("{refused} times not found");
    assert!(refused <= 3, "{refused} times not found");
}

#[tokio::test]
async fn what_the_first_subnet_has_no_room_for_is_launched_in_the_second() {
    let ec2 = Ec2Faults {
        capacity: vec![Capacity {
            instance_type: None,
            subnet: Some("subnet-1".to_owned()),
            instances: 2,
        }],
        ..Ec2Faults::default()
    };
    let arguments = ["--max-workers=5", "--subnet-id=subnet-1,subnet-2"];
    let stage = stage(ec2, &arguments).await;
    let _workers = staff(&stage);
    stage.demand(5);
    idle(&stage, 5).await;
    // The first is full with two, so three are in the second; two calls were enough to find that out.
    assert_eq!(stage.calls("RunInstances").await, 2);
    assert_eq!(stage.answers("RunInstances", 500).await, 0);
    assert_eq!(stage.instances().await.len(), 5);
    assert_eq!(stage.status().await.totals.unwrap().launched, 5);
}

#[tokio::test]
async fn a_boot_that_fails_is_counted_and_made_good() {
    let ec2 = Ec2Faults {
        fail_boot_every: 3,
        ..Ec2Faults::default()
    };
    let arguments = ["--max-workers=4", "--boot-deadline=500ms"];
    let stage = stage(ec2, &arguments).await;
    let _workers = staff(&stage);
    stage.demand(4);
    idle(&stage, 4).await;
    let totals = stage.status().await.totals.unwrap();
    assert_eq!(
        (totals.silent_workers_stopped, totals.busy_workers_stopped),
        (1, 0)
    );
    assert_eq!(totals.launched + totals.started, 5);
    assert_eq!(stage.count(PowerState::Running).await, 4);
}

#[tokio::test]
async fn nothing_is_launched_for_what_pending_instances_will_do() {
    let ec2 = Ec2Faults {
        boot_delay: Duration::from_millis(500),
        ..Ec2Faults::default()
    };
    let stage = stage(ec2, &["--max-workers", "6"]).await;
    let _workers = staff(&stage);
    stage.demand(3);
    eventually("they are pending", async || {
        stage.count(PowerState::Pending).await == 3
    })
    .await;
    idle(&stage, 3).await;
    assert_eq!(stage.instances().await.len(), 3);
    assert_eq!(stage.calls("RunInstances").await, 1);
    assert_eq!(stage.status().await.totals.unwrap().launched, 3);
}

#[tokio::test]
async fn spot_instances_are_terminated_when_demand_ends() {
    let arguments = ["--max-workers=2", "--market=spot", "--billing-minimum=0s"];
    let stage = stage(Ec2Faults::default(), &arguments).await;
    let _workers = staff(&stage);
    stage.demand(2);
    idle(&stage, 2).await;
    assert!(stage.instances().await.iter().all(|it| it.spot));
    stage.demand(0);
    eventually("they are gone", async || stage.instances().await.is_empty()).await;
    assert_eq!(stage.calls("StopInstances").await, 0);
    assert!(stage.calls("TerminateInstances").await >= 1);
}
