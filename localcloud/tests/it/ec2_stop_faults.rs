//! Injected faults of stops and status checks, and faults that change while localcloud runs.

use std::time::Duration;

use aws_sdk_ec2::types::{InstanceStateName, SummaryStatus};

use crate::cloud::{code, eventually};
use crate::instances::{
    FOREVER, any_alive, describe, faulty_cloud, in_state, launch, launched, process_ids, run,
    running, stop, terminate,
};

#[tokio::test]
async fn an_instance_stays_stopping_for_its_stop_delay() {
    let cloud = faulty_cloud(|faults| faults.stop_delay = FOREVER).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let processes = process_ids(&cloud.console_log(&id)).await;
    stop(&ec2, &id).await.unwrap();
    eventually("the processes are gone", || async {
        (!any_alive(&processes)).then_some(())
    })
    .await;
    let instance = describe(&ec2, &id).await;
    let state = instance.state().unwrap().name().cloned();
    assert_eq!(state, Some(InstanceStateName::Stopping));
    // A termination overtakes the stop, and the shutdown skips the delay.
    terminate(&ec2, &id).await.unwrap();
    let instance = describe(&ec2, &id).await;
    let state = instance.state().unwrap().name().cloned();
    assert_eq!(state, Some(InstanceStateName::ShuttingDown));
    cloud.stop().await;
}

#[tokio::test]
async fn an_instance_is_stopped_after_its_stop_delay() {
    let cloud = faulty_cloud(|faults| {
        faults.stop_delay = Duration::from_millis(50);
        faults.stop_delay_spread = Duration::from_millis(50);
    })
    .await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    running(&ec2, 1).await;
    stop(&ec2, &id).await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    cloud.stop().await;
}

#[tokio::test]
async fn status_checks_initialize_for_a_time() {
    let cloud = faulty_cloud(|faults| faults.status_check = FOREVER).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    running(&ec2, 1).await;
    let status = || async {
        let described = ec2.describe_instance_status().instance_ids(&id).send();
        let described = described.await.unwrap();
        let status = described.instance_statuses()[0].instance_status().unwrap();
        status.status().unwrap().clone()
    };
    assert_eq!(status().await, SummaryStatus::Initializing);
    cloud.set_faults("[ec2]\nstatus_check_ms = 0").await;
    assert_eq!(status().await, SummaryStatus::Ok);
    cloud.stop().await;
}

#[tokio::test]
async fn limits_capacity_and_lag_change_while_it_runs() {
    let cloud = faulty_cloud(|_| {}).await;
    let ec2 = cloud.ec2_without_retries();
    launched(run(&ec2, 2)).await;
    cloud
        .set_faults("[ec2]\ncapacity = [{ instances = 3 }]\ndescribe_lag_ms = 600000")
        .await;
    let refused = run(&ec2, 2).send().await.unwrap_err();
    assert_eq!(code(refused), "InsufficientInstanceCapacity");
    let unseen = launch(&ec2).await;
    let described = ec2.describe_instances().instance_ids(&unseen).send().await;
    assert_eq!(code(described.unwrap_err()), "InvalidInstanceID.NotFound");
    cloud
        .set_faults("[ec2.limits.requests]\nDescribeImages = { size = 1, refill_per_second = 0 }")
        .await;
    ec2.describe_images().send().await.unwrap();
    let refused = ec2.describe_images().send().await.unwrap_err();
    assert_eq!(code(refused), "RequestLimitExceeded");
    launched(run(&ec2, 2)).await;
    cloud.set_faults("").await;
    ec2.describe_images().send().await.unwrap();
    ec2.describe_images().send().await.unwrap();
    // An instance that was launched with a lag keeps it.
    let described = ec2.describe_instances().instance_ids(&unseen).send().await;
    assert_eq!(code(described.unwrap_err()), "InvalidInstanceID.NotFound");
    cloud.stop().await;
}
