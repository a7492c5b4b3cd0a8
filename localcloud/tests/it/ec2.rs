//! EC2: launches, descriptions, tags and the shape of errors.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    Filter, Instance, InstanceStateName, ResourceType, Tag, TagSpecification,
};

use localcloud::{BootInstance, Config};

use crate::cloud::{Cloud, code, eventually, image};

const SLEEPER: &str = "exec sleep 1000";

pub fn filter(name: &str, values: &[&str]) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(
            values.iter().map(|value| (*value).to_owned()).collect(),
        ))
        .build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

pub fn run(ec2: &Client, count: i32) -> RunInstancesFluentBuilder {
    ec2.run_instances()
        .image_id("ami-test")
        .min_count(count)
        .max_count(count)
}

fn named(name: &str) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(ResourceType::Instance)
        .tags(tag("Name", name))
        .build()
}

pub async fn launched(request: RunInstancesFluentBuilder) -> Vec<String> {
    let answer = request.send().await.unwrap();
    answer
        .instances()
        .iter()
        .map(|instance| instance.instance_id().unwrap().to_owned())
        .collect()
}

pub async fn described(ec2: &Client, filters: Vec<Filter>) -> Vec<Instance> {
    let answer = ec2
        .describe_instances()
        .set_filters(Some(filters))
        .send()
        .await
        .unwrap();
    answer
        .reservations
        .unwrap_or_default()
        .into_iter()
        .flat_map(|one| one.instances.unwrap_or_default())
        .collect()
}

pub async fn running(ec2: &Client, count: usize) {
    eventually("all run", || async {
        (described(ec2, vec![filter("instance-state-name", &["running"])])
            .await
            .len()
            == count)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_launch_echoes_what_it_was_asked_for() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let answer = run(&ec2, 2)
        .instance_type("t2.micro".into())
        .subnet_id("subnet-1")
        .security_group_ids("sg-1")
        .key_name("key")
        .tag_specifications(named("app-tier-instance-1"))
        .send()
        .await
        .unwrap();
    assert!(answer.reservation_id().unwrap().starts_with("r-"));
    let instance = &answer.instances()[1];
    assert_eq!(instance.instance_id().unwrap().len(), 19);
    assert_eq!(instance.ami_launch_index(), Some(1));
    assert_eq!(
        instance.state().unwrap().name(),
        Some(&InstanceStateName::Pending)
    );
    assert_eq!(instance.instance_type().unwrap().as_str(), "t2.micro");
    assert_eq!(
        (instance.subnet_id(), instance.key_name()),
        (Some("subnet-1"), Some("key"))
    );
    assert_eq!(instance.security_groups()[0].group_id(), Some("sg-1"));
    assert_eq!(instance.tags(), [tag("Name", "app-tier-instance-1")]);
    assert_eq!(
        instance.placement().unwrap().availability_zone(),
        Some("us-east-1a")
    );
    assert!(instance.launch_time().unwrap().secs() > 1_700_000_000);
    running(&ec2, 2).await;
    cloud.stop().await;
}

#[tokio::test]
async fn filters_select_by_state_tags_and_wildcards() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    for name in ["app-tier-instance-1", "app-tier-instance-2", "web-instance"] {
        run(&ec2, 1)
            .tag_specifications(named(name))
            .send()
            .await
            .unwrap();
    }
    running(&ec2, 3).await;
    for (filters, count) in [
        (vec![filter("tag:Name", &["app-tier-instance*"])], 2),
        (
            vec![
                filter("tag:Name", &["app-tier-instance-?"]),
                filter("instance-state-name", &["running"]),
            ],
            2,
        ),
        (vec![filter("tag:Name", &["web-instance*", "*-2"])], 2),
        (
            vec![
                filter("tag:Name", &["*"]),
                filter("instance-state-name", &["stopped", "stopping"]),
            ],
            0,
        ),
        (vec![filter("tag-key", &["Name"])], 3),
        (vec![filter("tag-key", &["Other"])], 0),
        (vec![filter("image-id", &["ami-test"])], 3),
        (vec![filter("image-id", &["ami-other"])], 0),
    ] {
        let found = described(&ec2, filters.clone()).await;
        assert_eq!(found.len(), count, "{filters:?}");
    }
    let id = described(&ec2, vec![filter("tag:Name", &["web-instance"])]).await[0]
        .instance_id
        .clone()
        .unwrap();
    assert_eq!(
        described(&ec2, vec![filter("instance-id", &[&id])])
            .await
            .len(),
        1
    );
    let by_id = ec2
        .describe_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    assert_eq!(
        by_id.reservations()[0].instances()[0].instance_id(),
        Some(id.as_str())
    );
    let status = ec2
        .describe_instance_status()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    assert_eq!(
        status.instance_statuses()[0]
            .instance_state()
            .unwrap()
            .name(),
        Some(&InstanceStateName::Running)
    );
    let unknown = ec2
        .describe_instances()
        .filters(filter("colour", &["red"]))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(unknown), "InvalidParameterValue");
    cloud.stop().await;
}

#[tokio::test]
async fn descriptions_come_in_pages() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let launched = launched(run(&ec2, 12)).await;
    let mut seen = Vec::new();
    let mut pages = ec2
        .describe_instances()
        .max_results(5)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        let instances: Vec<_> = page
            .reservations()
            .iter()
            .flat_map(|one| one.instances())
            .collect();
        assert!(instances.len() <= 5);
        seen.extend(
            instances
                .into_iter()
                .map(|instance| instance.instance_id().unwrap().to_owned()),
        );
    }
    assert_eq!(seen, launched);
    cloud.stop().await;
}

#[tokio::test]
async fn tags_are_created_described_and_deleted() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let ids = launched(run(&ec2, 2)).await;
    ec2.create_tags()
        .set_resources(Some(ids.clone()))
        .tags(tag("Pool", "a<b&c"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        described(&ec2, vec![filter("tag:Pool", &["a<b&c"])])
            .await
            .len(),
        2
    );
    let tags = ec2
        .describe_tags()
        .filters(filter("resource-id", &[&ids[0]]))
        .send()
        .await
        .unwrap();
    assert_eq!(tags.tags().len(), 1);
    assert_eq!(
        (tags.tags()[0].key(), tags.tags()[0].value()),
        (Some("Pool"), Some("a<b&c"))
    );
    ec2.delete_tags()
        .resources(&ids[0])
        .tags(Tag::builder().key("Pool").build())
        .send()
        .await
        .unwrap();
    assert_eq!(
        described(&ec2, vec![filter("tag-key", &["Pool"])])
            .await
            .len(),
        1
    );
    cloud.stop().await;
}

#[tokio::test]
async fn a_client_token_launches_once() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let first = launched(run(&ec2, 2).client_token("token")).await;
    assert_eq!(launched(run(&ec2, 2).client_token("token")).await, first);
    let other = run(&ec2, 3).client_token("token").send().await.unwrap_err();
    assert_eq!(code(other), "IdempotentParameterMismatch");
    assert_eq!(described(&ec2, vec![]).await.len(), 2);
    cloud.stop().await;
}

#[tokio::test]
async fn errors_have_the_codes_of_aws() {
    let cloud = Cloud::with(Config {
        images: vec![image("ami-test", SLEEPER)],
        max_instances: 3,
        ..Config::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let absent = "i-0123456789abcdef0";
    let launch = |image: &str| {
        ec2.run_instances()
            .image_id(image)
            .min_count(1)
            .max_count(1)
    };
    assert_eq!(
        code(launch("ami-absent").send().await.unwrap_err()),
        "InvalidAMIID.NotFound"
    );
    assert_eq!(
        code(launch("ami-test").max_count(0).send().await.unwrap_err()),
        "InvalidParameterValue"
    );
    assert_eq!(
        code(
            launch("ami-test")
                .user_data("%%%")
                .send()
                .await
                .unwrap_err()
        ),
        "InvalidUserData.Malformed"
    );
    assert_eq!(
        code(launch("ami-test").dry_run(true).send().await.unwrap_err()),
        "DryRunOperation"
    );
    assert_eq!(
        code(run(&ec2, 4).send().await.unwrap_err()),
        "InstanceLimitExceeded"
    );
    assert_eq!(
        code(ec2.start_instances().send().await.unwrap_err()),
        "MissingParameter"
    );
    for (id, expected) in [
        (absent, "InvalidInstanceID.NotFound"),
        ("nonsense", "InvalidInstanceID.Malformed"),
    ] {
        assert_eq!(
            code(
                ec2.describe_instances()
                    .instance_ids(id)
                    .send()
                    .await
                    .unwrap_err()
            ),
            expected
        );
        assert_eq!(
            code(
                ec2.start_instances()
                    .instance_ids(id)
                    .send()
                    .await
                    .unwrap_err()
            ),
            expected
        );
        assert_eq!(
            code(
                ec2.stop_instances()
                    .instance_ids(id)
                    .send()
                    .await
                    .unwrap_err()
            ),
            expected
        );
        assert_eq!(
            code(
                ec2.terminate_instances()
                    .instance_ids(id)
                    .send()
                    .await
                    .unwrap_err()
            ),
            expected
        );
        assert_eq!(
            code(
                ec2.reboot_instances()
                    .instance_ids(id)
                    .send()
                    .await
                    .unwrap_err()
            ),
            expected
        );
    }
    assert_eq!(
        code(ec2.describe_vpcs().send().await.unwrap_err()),
        "InvalidAction"
    );
    // As many as there is room for, if that satisfies the minimum.
    assert_eq!(launched(launch("ami-test").max_count(9)).await.len(), 3);
    cloud.stop().await;
}

#[tokio::test]
async fn configured_instances_are_booted_and_images_described() {
    let boot = BootInstance {
        image: "ami-test".to_owned(),
        tags: [("Name".to_owned(), "web-instance".to_owned())].into(),
        user_data: Some("A=1".to_owned()),
    };
    let images = vec![image("ami-test", SLEEPER), image("ami-other", SLEEPER)];
    let cloud = Cloud::with(Config {
        images,
        instances: vec![boot],
        ..Config::default()
    })
    .await;
    let ec2 = cloud.ec2();
    running(&ec2, 1).await;
    assert_eq!(
        described(&ec2, vec![filter("tag:Name", &["web-instance"])])
            .await
            .len(),
        1
    );
    let images = ec2
        .describe_images()
        .filters(filter("name", &["ami-o*"]))
        .send()
        .await
        .unwrap();
    assert_eq!(images.images()[0].image_id(), Some("ami-other"));
    assert_eq!(
        ec2.describe_images().send().await.unwrap().images().len(),
        2
    );
    cloud.stop().await;
}
