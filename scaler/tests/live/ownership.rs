//! Whose instances a scaler touches: those with the tag of its prefix.

use std::sync::Arc;

use platform::fleet::{Fleet, LaunchSpec, PowerState};
use proto::names::worker_instance;
use proto::v1::InstanceState;

use crate::stage::{Stage, eventually, status_of};
use crate::wait::{until_listed, until_seen};
use crate::worker::run_workers;

/// Launches an instance that has a worker's name.
async fn launch(fleet: &Fleet) -> String {
    let spec = LaunchSpec {
        image_id: "ami-muster-worker".to_owned(),
        instance_type: "c7i.large".to_owned(),
        ..LaunchSpec::default()
    };
    let name = worker_instance(3);
    let launched = fleet.launch(&spec, 1, &name, "").await.unwrap();
    launched[0].clone()
}

#[tokio::test]
async fn instances_without_the_tag_or_of_another_prefix_are_neither_listed_nor_touched() {
    let mut stage = Stage::without_scaler(&["--max-workers=2", "--billing-minimum=0s"]).await;
    stage.create_queue().await;
    let untagged = launch(&stage.aws.fleet()).await;
    let foreign = stage.aws.fleet().of_prefix("other");
    let (running, stopped) = (launch(&foreign).await, launch(&foreign).await);
    let everything = stage.aws.fleet();
    let state = async |id: &str| {
        let all = everything.find("app-tier-instance-3").await.unwrap();
        all.into_iter().find(|it| it.id == id).map(|it| it.state)
    };
    eventually("they run", async || {
        let all = everything.find("app-tier-instance-3").await.unwrap();
        all.iter()
            .filter(|it| it.state == PowerState::Running)
            .count()
            == 3
    })
    .await;
    foreign.stop(std::slice::from_ref(&stopped)).await.unwrap();
    eventually("one is stopped", async || {
        state(&stopped).await == Some(PowerState::Stopped)
    })
    .await;
    stage.start_scaler().await;
    let stage = Arc::new(stage);
    let _workers = run_workers(&stage);
    stage.demand(2);
    until_seen(&stage, InstanceState::Idle, 2).await;
    let observation = stage.status().await.observation.unwrap();
    assert_eq!(observation.instances.len(), 2);
    stage.demand(0);
    until_listed(&stage, PowerState::Stopped, 2).await;
    assert_eq!(state(&untagged).await, Some(PowerState::Running));
    assert_eq!(state(&running).await, Some(PowerState::Running));
    assert_eq!(state(&stopped).await, Some(PowerState::Stopped));
    assert_eq!(stage.calls("StartInstances").await, 0);
    assert_eq!(stage.calls("TerminateInstances").await, 0);
}

#[tokio::test]
async fn two_prefixes_with_a_scaler_each_live_in_one_account() {
    let stage = Stage::set(&["--max-workers=2"]).await;
    let other = stage.rival_with(&["--prefix=other"]).await.scaler;
    stage.demand(2);
    let fleets = [
        stage.aws.fleet().of_prefix("muster"),
        stage.aws.fleet().of_prefix("other"),
    ];
    for fleet in &fleets {
        eventually("each prefix has two workers with names", async || {
            let found = fleet.find("app-tier-instance-*").await.unwrap();
            let names: Vec<_> = found.into_iter().map(|it| it.name).collect();
            names == [1, 2].map(worker_instance)
        })
        .await;
    }
    assert_eq!(stage.aws.fleet().find("*").await.unwrap().len(), 4);
    for scaler in [&stage.scaler, &other] {
        let status = status_of(scaler).await;
        assert_eq!(status.standing_by, None);
        assert_eq!(status.observation.unwrap().instances.len(), 2);
    }
}
