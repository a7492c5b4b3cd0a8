//! EC2 that takes its time to end instances and to check them, and that changes while it runs.

use std::time::Duration;

use aws_sdk_ec2::types::{InstanceStateName, SummaryStatus};
use localcloud::{Config, Ec2Faults};
use serde_json::json;

use crate::cloud::{Cloud, code, eventually, image, raw};
use crate::ec2::{launched, run, running};
use crate::processes::{describe, in_state, is_alive, process_ids};

const PARENT: &str = "sleep 1000 & echo ids $$ $!; wait";
const FOR_EVER: Duration = Duration::from_secs(600);

async fn cloud_that_has(ec2: Ec2Faults) -> Cloud {
    Cloud::with(Config {
        images: vec![image("ami-test", PARENT)],
        faults: ec2.into(),
        ..Config::default()
    })
    .await
}

async fn set_faults(cloud: &Cloud, faults: serde_json::Value) {
    let body = faults.to_string();
    let request = format!(
        "PUT /_localcloud/faults HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = raw(&cloud.endpoint, &request).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn an_instance_stays_stopping_when_its_process_is_gone() {
    let cloud = cloud_that_has(Ec2Faults {
        stop_delay: FOR_EVER,
        ..Ec2Faults::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1)).await.remove(0);
    let processes = process_ids(&cloud.folder_of(&id).join("console.log")).await;
    let stop = ec2.stop_instances().instance_ids(&id);
    stop.send().await.unwrap();
    eventually("the processes are gone", || async {
        (!processes.iter().any(|process| is_alive(*process))).then_some(())
    })
    .await;
    let instance = describe(&ec2, &id).await;
    let state = instance.state().unwrap().name().cloned();
    assert_eq!(state, Some(InstanceStateName::Stopping));
    // Its end does not wait for it, and a termination overtakes the stop.
    let terminate = ec2.terminate_instances().instance_ids(&id);
    terminate.send().await.unwrap();
    let instance = describe(&ec2, &id).await;
    let state = instance.state().unwrap().name().cloned();
    assert_eq!(state, Some(InstanceStateName::ShuttingDown));
    cloud.stop().await;
}

#[tokio::test]
async fn a_short_stop_delay_passes() {
    let cloud = cloud_that_has(Ec2Faults {
        stop_delay: Duration::from_millis(50),
        stop_delay_spread: Duration::from_millis(50),
        ..Ec2Faults::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1)).await.remove(0);
    running(&ec2, 1).await;
    let stop = ec2.stop_instances().instance_ids(&id);
    stop.send().await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    cloud.stop().await;
}

#[tokio::test]
async fn status_checks_take_their_time() {
    let cloud = cloud_that_has(Ec2Faults {
        status_check: FOR_EVER,
        ..Ec2Faults::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1)).await.remove(0);
    running(&ec2, 1).await;
    let status = || async {
        let asked = ec2.describe_instance_status().instance_ids(&id).send();
        let asked = asked.await.unwrap();
        let status = asked.instance_statuses()[0].instance_status().unwrap();
        status.status().unwrap().clone()
    };
    assert_eq!(status().await, SummaryStatus::Initializing);
    set_faults(&cloud, json!({ "ec2": { "status_check_ms": 0 } })).await;
    assert_eq!(status().await, SummaryStatus::Ok);
    cloud.stop().await;
}

#[tokio::test]
async fn limits_capacity_and_lag_change_while_it_runs() {
    let cloud = cloud_that_has(Ec2Faults::default()).await;
    let ec2 = cloud.ec2_without_retries();
    launched(run(&ec2, 2)).await;
    set_faults(
        &cloud,
        json!({ "ec2": { "capacity": [{ "instances": 3 }], "describe_lag_ms": 600_000 } }),
    )
    .await;
    let refused = run(&ec2, 2).send().await.unwrap_err();
    assert_eq!(code(refused), "InsufficientInstanceCapacity");
    let unseen = launched(run(&ec2, 1)).await.remove(0);
    let asked = ec2.describe_instances().instance_ids(&unseen).send().await;
    assert_eq!(code(asked.unwrap_err()), "InvalidInstanceID.NotFound");
    let none = json!({ "size": 1, "refill_per_second": 0 });
    set_faults(
        &cloud,
        json!({ "ec2": { "limits": { "requests": { "DescribeImages": none } } } }),
    )
    .await;
    ec2.describe_images().send().await.unwrap();
    let refused = ec2.describe_images().send().await.unwrap_err();
    assert_eq!(code(refused), "RequestLimitExceeded");
    launched(run(&ec2, 2)).await;
    set_faults(&cloud, json!({})).await;
    ec2.describe_images().send().await.unwrap();
    ec2.describe_images().send().await.unwrap();
    // What was launched to be known late stays so.
    let asked = ec2.describe_instances().instance_ids(&unseen).send().await;
    assert_eq!(code(asked.unwrap_err()), "InvalidInstanceID.NotFound");
    cloud.stop().await;
}
