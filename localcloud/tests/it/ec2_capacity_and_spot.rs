//! Capacity limits of EC2, and spot instances.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    IamInstanceProfileSpecification, InstanceInterruptionBehavior, InstanceLifecycleType,
    InstanceMarketOptionsRequest, InstanceStateName, InstanceType, MarketType, SpotInstanceType,
    SpotMarketOptions,
};
use localcloud::{Capacity, Ec2Faults};

use crate::cloud::{Cloud, code, status_and_code};
use crate::instances::{
    SLEEPER, described, filter, in_state, launched, run, running, stop, terminate,
};

async fn cloud_with_capacity(capacity: &[(Option<&str>, Option<&str>, usize)]) -> Cloud {
    let capacity = capacity.iter().map(|(instance_type, subnet, instances)| {
        let owned = |text: &Option<&str>| text.map(str::to_owned);
        Capacity {
            instance_type: owned(instance_type),
            subnet: owned(subnet),
            instances: *instances,
        }
    });
    let faults = Ec2Faults {
        capacity: capacity.collect(),
        ..Ec2Faults::default()
    };
    Cloud::with_ec2_faults(SLEEPER, faults).await
}

fn in_subnet(ec2: &Client, subnet: &str, count: i32) -> RunInstancesFluentBuilder {
    run(ec2, count).subnet_id(subnet)
}

fn no_capacity() -> (u16, String) {
    (500, "InsufficientInstanceCapacity".to_owned())
}

#[tokio::test]
async fn a_launch_gets_the_capacity_of_its_subnet_or_fails_if_that_is_too_little() {
    let cloud = cloud_with_capacity(&[(None, Some("subnet-1"), 3)]).await;
    let ec2 = cloud.ec2_without_retries();
    let refused = in_subnet(&ec2, "subnet-1", 4).send().await.unwrap_err();
    let message = format!("{refused:?}");
    assert!(
        message.contains("do not have sufficient m1.small capacity")
            && message.contains("us-east-1a"),
        "{message}"
    );
    assert_eq!(status_and_code(refused), no_capacity());
    assert_eq!(described(&ec2, vec![]).await.len(), 0);

    let fitting = launched(in_subnet(&ec2, "subnet-1", 1).max_count(9)).await;
    assert_eq!(fitting.len(), 3);
    let refused = in_subnet(&ec2, "subnet-1", 1).send().await.unwrap_err();
    assert_eq!(status_and_code(refused), no_capacity());
    // Fallbacks: another subnet, or none.
    assert_eq!(launched(in_subnet(&ec2, "subnet-2", 2)).await.len(), 2);
    assert_eq!(launched(run(&ec2, 2)).await.len(), 2);
    let there = described(&ec2, vec![filter("subnet-id", &["subnet-2"])]).await;
    assert_eq!(there.len(), 2);

    // A terminated instance frees capacity.
    terminate(&ec2, &fitting[0]).await.unwrap();
    assert_eq!(launched(in_subnet(&ec2, "subnet-1", 1)).await.len(), 1);
    cloud.stop().await;
}

#[tokio::test]
async fn a_launch_must_fit_into_every_capacity_that_covers_it() {
    let cloud = cloud_with_capacity(&[
        (Some("c5.large"), None, 2),
        (Some("c5.large"), Some("subnet-1"), 1),
        (None, None, 4),
    ])
    .await;
    let ec2 = cloud.ec2_without_retries();
    let large = |subnet: &str| in_subnet(&ec2, subnet, 1).instance_type(InstanceType::C5Large);
    large("subnet-1").send().await.unwrap();
    large("subnet-1").send().await.unwrap_err();
    large("subnet-2").send().await.unwrap();
    large("subnet-3").send().await.unwrap_err();
    let other = in_subnet(&ec2, "subnet-1", 1)
        .max_count(5)
        .instance_type(InstanceType::C5Xlarge);
    assert_eq!(launched(other).await.len(), 2);
    cloud.stop().await;
}

#[tokio::test]
async fn a_start_without_capacity_for_all_starts_none() {
    let cloud = cloud_with_capacity(&[(None, Some("subnet-1"), 2)]).await;
    let ec2 = cloud.ec2_without_retries();
    let ids = launched(in_subnet(&ec2, "subnet-1", 2)).await;
    running(&ec2, 2).await;
    for id in &ids {
        stop(&ec2, id).await.unwrap();
        in_state(&ec2, id, InstanceStateName::Stopped).await;
    }
    launched(in_subnet(&ec2, "subnet-1", 1)).await;
    let start = |ids: &[String]| {
        let start = ec2.start_instances();
        start.set_instance_ids(Some(ids.to_vec())).send()
    };
    let refused = start(&ids).await.unwrap_err();
    assert_eq!(status_and_code(refused), no_capacity());
    let stopped = described(&ec2, vec![filter("instance-state-name", &["stopped"])]).await;
    assert_eq!(stopped.len(), 2, "none was started");
    start(&ids[..1]).await.unwrap();
    let refused = start(&ids[1..]).await.unwrap_err();
    assert_eq!(status_and_code(refused), no_capacity());
    start(&ids[..1])
        .await
        .expect("a running instance needs no capacity");
    cloud.stop().await;
}

#[tokio::test]
async fn a_description_has_subnet_type_and_profile() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let profile = IamInstanceProfileSpecification::builder().name("workers");
    in_subnet(&ec2, "subnet-7", 1)
        .instance_type(InstanceType::C5Large)
        .security_group_ids("sg-7")
        .key_name("key-7")
        .iam_instance_profile(profile.build())
        .send()
        .await
        .unwrap();
    let instance = described(&ec2, vec![]).await.remove(0);
    assert_eq!(instance.subnet_id(), Some("subnet-7"));
    assert_eq!(instance.instance_type(), Some(&InstanceType::C5Large));
    assert_eq!(instance.security_groups()[0].group_id(), Some("sg-7"));
    assert_eq!(instance.key_name(), Some("key-7"));
    let arn = instance.iam_instance_profile().unwrap().arn().unwrap();
    assert!(arn.ends_with(":instance-profile/workers"), "{arn}");
    assert_eq!(instance.instance_lifecycle(), None);
    cloud.stop().await;
}

fn spot(options: Option<SpotMarketOptions>) -> InstanceMarketOptionsRequest {
    InstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .set_spot_options(options)
        .build()
}

#[tokio::test]
async fn a_one_time_spot_instance_can_be_terminated_but_not_stopped() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let spot_id = launched(run(&ec2, 1).instance_market_options(spot(None))).await;
    let on_demand = launched(run(&ec2, 1)).await;
    running(&ec2, 2).await;
    let found = described(&ec2, vec![filter("instance-lifecycle", &["spot"])]).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].instance_id(), Some(spot_id[0].as_str()));
    assert_eq!(
        found[0].instance_lifecycle(),
        Some(&InstanceLifecycleType::Spot)
    );
    assert!(found[0].spot_instance_request_id().is_some());

    let both = [spot_id.clone(), on_demand.clone()].concat();
    let stop_both = ec2.stop_instances().set_instance_ids(Some(both));
    let refused = stop_both.send().await.unwrap_err();
    let expected = (400, "UnsupportedOperation".to_owned());
    assert_eq!(status_and_code(refused), expected);
    in_state(&ec2, &on_demand[0], InstanceStateName::Running).await;
    terminate(&ec2, &spot_id[0]).await.unwrap();
    in_state(&ec2, &spot_id[0], InstanceStateName::Terminated).await;
    cloud.stop().await;
}

#[tokio::test]
async fn a_one_time_spot_instance_whose_process_ends_is_terminated() {
    let cloud = Cloud::with_image("exit 0").await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1).instance_market_options(spot(None))).await;
    in_state(&ec2, &id[0], InstanceStateName::Terminated).await;
    cloud.stop().await;
}

#[tokio::test]
async fn only_a_persistent_spot_instance_can_be_stopped() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let options = |kind: SpotInstanceType, interruption: Option<InstanceInterruptionBehavior>| {
        SpotMarketOptions::builder()
            .spot_instance_type(kind)
            .set_instance_interruption_behavior(interruption)
            .build()
    };
    for mismatched in [
        options(SpotInstanceType::Persistent, None),
        options(
            SpotInstanceType::OneTime,
            Some(InstanceInterruptionBehavior::Stop),
        ),
    ] {
        let launch = run(&ec2, 1).instance_market_options(spot(Some(mismatched)));
        assert_eq!(
            code(launch.send().await.unwrap_err()),
            "InvalidParameterCombination"
        );
    }
    let persistent = options(
        SpotInstanceType::Persistent,
        Some(InstanceInterruptionBehavior::Stop),
    );
    let id = launched(run(&ec2, 1).instance_market_options(spot(Some(persistent)))).await;
    running(&ec2, 1).await;
    stop(&ec2, &id[0]).await.unwrap();
    in_state(&ec2, &id[0], InstanceStateName::Stopped).await;
    cloud.stop().await;
}
