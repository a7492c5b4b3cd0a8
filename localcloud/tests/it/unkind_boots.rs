//! EC2 that learns of its instances late, and boots them slowly or without success.

use std::time::{Duration, Instant};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InstanceStateName, Tag};
use localcloud::{Config, Ec2Faults};

use crate::cloud::{Cloud, code, eventually, image};
use crate::ec2::{described, filter, launched, run, running};
use crate::processes::{describe, in_state, process_ids};

const PARENT: &str = "sleep 1000 & echo ids $$ $!; wait";
/// Longer than any test takes.
const FOR_EVER: Duration = Duration::from_secs(600);

async fn cloud_that_has(ec2: Ec2Faults) -> Cloud {
    Cloud::with(Config {
        images: vec![image("ami-test", PARENT)],
        faults: ec2.into(),
        ..Config::default()
    })
    .await
}

#[tokio::test]
async fn a_new_instance_is_unknown_to_every_call_but_its_launch() {
    let cloud = cloud_that_has(Ec2Faults {
        describe_lag: FOR_EVER,
        ..Ec2Faults::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1).client_token("token")).await.remove(0);
    assert_eq!(described(&ec2, vec![]).await.len(), 0);
    let by_image = vec![filter("image-id", &["ami-test"])];
    assert_eq!(described(&ec2, by_image).await.len(), 0);
    let not_found = "InvalidInstanceID.NotFound";
    let by_id = ec2.describe_instances().instance_ids(&id).send().await;
    assert_eq!(code(by_id.unwrap_err()), not_found);
    let tag = Tag::builder().key("Name").value("worker").build();
    let tagged = ec2.create_tags().resources(&id).tags(tag).send().await;
    assert_eq!(code(tagged.unwrap_err()), not_found);
    let stopped = ec2.stop_instances().instance_ids(&id).send().await;
    assert_eq!(code(stopped.unwrap_err()), not_found);
    let started = ec2.start_instances().instance_ids(&id).send().await;
    assert_eq!(code(started.unwrap_err()), not_found);
    let terminated = ec2.terminate_instances().instance_ids(&id).send().await;
    assert_eq!(code(terminated.unwrap_err()), not_found);
    // It boots meanwhile, and the launch itself can be repeated.
    process_ids(&cloud.folder_of(&id).join("console.log")).await;
    let repeated = launched(run(&ec2, 1).client_token("token")).await;
    assert_eq!(repeated, [id]);
    cloud.stop().await;
}

#[tokio::test]
async fn a_new_instance_is_known_when_the_lag_is_over() {
    let lag = Duration::from_millis(300);
    let cloud = cloud_that_has(Ec2Faults {
        describe_lag: lag,
        ..Ec2Faults::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let asked = Instant::now();
    let id = launched(run(&ec2, 1)).await.remove(0);
    eventually("the instance is known", || async {
        let answer = ec2.describe_instances().instance_ids(&id).send().await;
        answer.ok()
    })
    .await;
    // Its clock counts whole milliseconds, and may have been about to tick.
    let waited = asked.elapsed() + Duration::from_millis(1);
    assert!(waited >= lag, "{waited:?}");
    running(&ec2, 1).await;
    // A second start is no second launch: the instance stays known.
    ec2.stop_instances().instance_ids(&id).send().await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    ec2.start_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    describe(&ec2, &id).await;
    cloud.stop().await;
}

#[tokio::test]
async fn an_instance_is_pending_until_its_boot_delay_is_over() {
    let delay = Duration::from_millis(300);
    let cloud = cloud_that_has(Ec2Faults {
        boot_delay: delay,
        ..Ec2Faults::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let asked = Instant::now();
    let id = launched(run(&ec2, 1)).await.remove(0);
    in_state(&ec2, &id, InstanceStateName::Running).await;
    assert!(asked.elapsed() >= delay, "{:?}", asked.elapsed());
    // A start takes as long as a launch.
    ec2.stop_instances().instance_ids(&id).send().await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let asked = Instant::now();
    ec2.start_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    in_state(&ec2, &id, InstanceStateName::Running).await;
    assert!(asked.elapsed() >= delay, "{:?}", asked.elapsed());
    cloud.stop().await;
}

#[tokio::test]
async fn an_instance_that_is_terminated_while_it_boots_never_runs() {
    let cloud = cloud_that_has(Ec2Faults {
        boot_delay: FOR_EVER,
        ..Ec2Faults::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1)).await.remove(0);
    in_state(&ec2, &id, InstanceStateName::Pending).await;
    ec2.terminate_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    in_state(&ec2, &id, InstanceStateName::Terminated).await;
    assert!(!cloud.folder_of(&id).exists());
    cloud.stop().await;
}

#[tokio::test]
async fn every_second_boot_runs_without_a_process_until_it_is_started_anew() {
    let cloud = cloud_that_has(Ec2Faults {
        fail_boot_every: 2,
        ..Ec2Faults::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let ids = launched(run(&ec2, 4)).await;
    running(&ec2, 4).await;
    let log = |id: &String| cloud.folder_of(id).join("console.log");
    for id in [&ids[0], &ids[2]] {
        process_ids(&log(id)).await;
    }
    for id in [&ids[1], &ids[3]] {
        assert!(!log(id).exists(), "{id} has no process");
    }
    stop_and_start(&ec2, &ids[1]).await;
    process_ids(&log(&ids[1])).await;
    // The sixth boot fails again, of whichever instance.
    let before = process_ids(&log(&ids[0])).await;
    stop_and_start(&ec2, &ids[0]).await;
    in_state(&ec2, &ids[0], InstanceStateName::Running).await;
    assert_eq!(process_ids(&log(&ids[0])).await, before);
    ec2.terminate_instances()
        .instance_ids(&ids[3])
        .send()
        .await
        .unwrap();
    in_state(&ec2, &ids[3], InstanceStateName::Terminated).await;
    cloud.stop().await;
}

async fn stop_and_start(ec2: &Client, id: &str) {
    ec2.stop_instances().instance_ids(id).send().await.unwrap();
    in_state(ec2, id, InstanceStateName::Stopped).await;
    ec2.start_instances().instance_ids(id).send().await.unwrap();
}
