//! Injected faults of boots: late visibility, delays and failures.

use std::time::{Duration, Instant};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::InstanceStateName;

use crate::cloud::{code, eventually};
use crate::instances::{
    FOREVER, describe, described, faulty_cloud, filter, in_state, launch, launched, process_ids,
    run, running, start, stop, tag, terminate,
};

#[tokio::test]
async fn a_new_instance_is_unknown_to_every_call_but_its_launch() {
    let cloud = faulty_cloud(|faults| faults.describe_lag = FOREVER).await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1).client_token("token")).await.remove(0);
    assert_eq!(described(&ec2, vec![]).await.len(), 0);
    let by_image = vec![filter("image-id", &["ami-test"])];
    assert_eq!(described(&ec2, by_image).await.len(), 0);
    let not_found = "InvalidInstanceID.NotFound";
    let by_id = ec2.describe_instances().instance_ids(&id).send().await;
    assert_eq!(code(by_id.unwrap_err()), not_found);
    let tagging = ec2.create_tags().resources(&id).tags(tag("Name", "worker"));
    assert_eq!(code(tagging.send().await.unwrap_err()), not_found);
    assert_eq!(code(stop(&ec2, &id).await.unwrap_err()), not_found);
    assert_eq!(code(start(&ec2, &id).await.unwrap_err()), not_found);
    assert_eq!(code(terminate(&ec2, &id).await.unwrap_err()), not_found);
    // It boots nevertheless, and the launch itself can be repeated.
    process_ids(&cloud.console_log(&id)).await;
    let repeated = launched(run(&ec2, 1).client_token("token")).await;
    assert_eq!(repeated, [id]);
    cloud.stop().await;
}

#[tokio::test]
async fn a_new_instance_is_visible_after_the_lag() {
    let lag = Duration::from_millis(300);
    let cloud = faulty_cloud(|faults| faults.describe_lag = lag).await;
    let ec2 = cloud.ec2();
    let asked = Instant::now();
    let id = launch(&ec2).await;
    eventually("the instance is visible", || async {
        let described = ec2.describe_instances().instance_ids(&id).send().await;
        described.ok()
    })
    .await;
    // The clock counts whole milliseconds.
    let waited = asked.elapsed() + Duration::from_millis(1);
    assert!(waited >= lag, "{waited:?}");
    running(&ec2, 1).await;
    // A start is no launch: the instance stays visible.
    stop_and_start(&ec2, &id).await;
    describe(&ec2, &id).await;
    cloud.stop().await;
}

#[tokio::test]
async fn an_instance_is_pending_for_its_boot_delay() {
    let delay = Duration::from_millis(300);
    let cloud = faulty_cloud(|faults| faults.boot_delay = delay).await;
    let ec2 = cloud.ec2();
    let asked = Instant::now();
    let id = launch(&ec2).await;
    in_state(&ec2, &id, InstanceStateName::Running).await;
    assert!(asked.elapsed() >= delay, "{:?}", asked.elapsed());
    // A start takes as long as a launch.
    stop(&ec2, &id).await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let asked = Instant::now();
    start(&ec2, &id).await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Running).await;
    assert!(asked.elapsed() >= delay, "{:?}", asked.elapsed());
    cloud.stop().await;
}

#[tokio::test]
async fn an_instance_that_is_terminated_while_it_boots_never_runs() {
    let cloud = faulty_cloud(|faults| faults.boot_delay = FOREVER).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    in_state(&ec2, &id, InstanceStateName::Pending).await;
    terminate(&ec2, &id).await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Terminated).await;
    assert!(!cloud.folder_of(&id).exists());
    cloud.stop().await;
}

#[tokio::test]
async fn every_second_boot_yields_an_instance_without_a_process() {
    let cloud = faulty_cloud(|faults| faults.fail_boot_every = 2).await;
    let ec2 = cloud.ec2();
    let ids = launched(run(&ec2, 4)).await;
    running(&ec2, 4).await;
    for id in [&ids[0], &ids[2]] {
        process_ids(&cloud.console_log(id)).await;
    }
    for id in [&ids[1], &ids[3]] {
        assert!(!cloud.console_log(id).exists(), "{id} has no process");
    }
    stop_and_start(&ec2, &ids[1]).await;
    process_ids(&cloud.console_log(&ids[1])).await;
    // The sixth boot fails again, whichever instance it is.
    let before = process_ids(&cloud.console_log(&ids[0])).await;
    stop_and_start(&ec2, &ids[0]).await;
    in_state(&ec2, &ids[0], InstanceStateName::Running).await;
    assert_eq!(process_ids(&cloud.console_log(&ids[0])).await, before);
    terminate(&ec2, &ids[3]).await.unwrap();
    in_state(&ec2, &ids[3], InstanceStateName::Terminated).await;
    cloud.stop().await;
}

async fn stop_and_start(ec2: &Client, id: &str) {
    stop(ec2, id).await.unwrap();
    in_state(ec2, id, InstanceStateName::Stopped).await;
    start(ec2, id).await.unwrap();
}
