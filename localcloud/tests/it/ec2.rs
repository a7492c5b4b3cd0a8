//! EC2: launches, descriptions, tags and the shape of errors.

use aws_sdk_ec2::types::{InstanceStateName, Tag};
use localcloud::{BootInstance, Config};

use crate::cloud::{Cloud, code, image};
use crate::instances::{
    ABSENT, SLEEPER, describe, described, filter, in_state, instance_tag, launch, launched, run,
    running, start, stop, tag, terminate,
};

#[tokio::test]
async fn a_launch_echoes_its_parameters() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let launch = run(&ec2, 2)
        .instance_type("t2.micro".into())
        .subnet_id("subnet-1")
        .security_group_ids("sg-1")
        .key_name("key")
        .tag_specifications(instance_tag("Name", "app-tier-instance-1"));
    let reservation = launch.send().await.unwrap();
    assert!(reservation.reservation_id().unwrap().starts_with("r-"));
    let instance = &reservation.instances()[1];
    assert_eq!(instance.instance_id().unwrap().len(), 19);
    assert_eq!(instance.ami_launch_index(), Some(1));
    let state = instance.state().unwrap().name();
    assert_eq!(state, Some(&InstanceStateName::Pending));
    assert_eq!(instance.instance_type().unwrap().as_str(), "t2.micro");
    assert_eq!(instance.subnet_id(), Some("subnet-1"));
    assert_eq!(instance.key_name(), Some("key"));
    assert_eq!(instance.security_groups()[0].group_id(), Some("sg-1"));
    assert_eq!(instance.tags(), [tag("Name", "app-tier-instance-1")]);
    let zone = instance.placement().unwrap().availability_zone();
    assert_eq!(zone, Some("us-east-1a"));
    assert!(instance.launch_time().unwrap().secs() > 1_700_000_000);
    running(&ec2, 2).await;
    cloud.stop().await;
}

#[tokio::test]
async fn filters_select_by_state_tags_and_wildcards() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    for name in ["app-tier-instance-1", "app-tier-instance-2", "web-instance"] {
        launched(run(&ec2, 1).tag_specifications(instance_tag("Name", name))).await;
    }
    running(&ec2, 3).await;
    let name = |values: &[&str]| filter("tag:Name", values);
    let state = |values: &[&str]| filter("instance-state-name", values);
    for (filters, count) in [
        (vec![name(&["app-tier-instance*"])], 2),
        (vec![name(&["app-tier-instance-?"]), state(&["running"])], 2),
        (vec![name(&["web-instance*", "*-2"])], 2),
        (vec![name(&["*"]), state(&["stopped", "stopping"])], 0),
        (vec![filter("tag-key", &["Name"])], 3),
        (vec![filter("tag-key", &["Other"])], 0),
        (vec![filter("image-id", &["ami-test"])], 3),
        (vec![filter("image-id", &["ami-other"])], 0),
    ] {
        let found = described(&ec2, filters.clone()).await;
        assert_eq!(found.len(), count, "{filters:?}");
    }
    let web = described(&ec2, vec![name(&["web-instance"])])
        .await
        .remove(0);
    let id = web.instance_id().unwrap();
    let by_id = described(&ec2, vec![filter("instance-id", &[id])]).await;
    assert_eq!(by_id.len(), 1);
    assert_eq!(describe(&ec2, id).await.instance_id(), Some(id));
    let status = ec2.describe_instance_status().instance_ids(id).send().await;
    let status = status.unwrap();
    let state = status.instance_statuses()[0].instance_state().unwrap();
    assert_eq!(state.name(), Some(&InstanceStateName::Running));
    let unknown = ec2.describe_instances().filters(filter("color", &["red"]));
    let refused = unknown.send().await.unwrap_err();
    assert_eq!(code(refused), "InvalidParameterValue");
    cloud.stop().await;
}

#[tokio::test]
async fn descriptions_come_in_pages() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let launched = launched(run(&ec2, 12)).await;
    let mut seen = Vec::new();
    let describe = ec2.describe_instances().max_results(5);
    let mut pages = describe.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        let instances = page.reservations().iter().flat_map(|one| one.instances());
        let ids: Vec<_> = instances
            .map(|instance| instance.instance_id().unwrap().to_owned())
            .collect();
        assert!(ids.len() <= 5);
        seen.extend(ids);
    }
    assert_eq!(seen, launched);
    cloud.stop().await;
}

#[tokio::test]
async fn tags_are_created_described_and_deleted() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let ids = launched(run(&ec2, 2)).await;
    let create = ec2.create_tags().set_resources(Some(ids.clone()));
    create.tags(tag("Pool", "a<b&c")).send().await.unwrap();
    let tagged = described(&ec2, vec![filter("tag:Pool", &["a<b&c"])]).await;
    assert_eq!(tagged.len(), 2);
    let tags = ec2.describe_tags();
    let tags = tags.filters(filter("resource-id", &[&ids[0]])).send().await;
    let tags = tags.unwrap();
    assert_eq!(tags.tags().len(), 1);
    assert_eq!(tags.tags()[0].key(), Some("Pool"));
    assert_eq!(tags.tags()[0].value(), Some("a<b&c"));
    let by_key = Tag::builder().key("Pool").build();
    let delete = ec2.delete_tags().resources(&ids[0]).tags(by_key);
    delete.send().await.unwrap();
    let tagged = described(&ec2, vec![filter("tag-key", &["Pool"])]).await;
    assert_eq!(tagged.len(), 1);
    cloud.stop().await;
}

#[tokio::test]
async fn the_value_of_a_tag_has_at_most_256_letters() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let set = |letters: usize| {
        let value = "\u{fc}".repeat(letters);
        let create = ec2.create_tags().resources(&id);
        create.tags(tag("list", &value)).send()
    };
    set(256).await.unwrap();
    assert_eq!(code(set(257).await.unwrap_err()), "InvalidParameterValue");
    cloud.stop().await;
}

#[tokio::test]
async fn the_reason_of_a_stop_has_its_time_in_gmt() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    running(&ec2, 1).await;
    stop(&ec2, &id).await.unwrap();
    let stopped = in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let reason = stopped.state_transition_reason().unwrap();
    let digits = |letter: char| if letter.is_ascii_digit() { '0' } else { letter };
    let form: String = reason.chars().map(digits).collect();
    assert_eq!(form, "User initiated (0000-00-00 00:00:00 GMT)");
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
    for (launch, expected) in [
        (run(&ec2, 1).image_id("ami-absent"), "InvalidAMIID.NotFound"),
        (run(&ec2, 1).max_count(0), "InvalidParameterValue"),
        (run(&ec2, 1).user_data("%%%"), "InvalidUserData.Malformed"),
        (run(&ec2, 1).dry_run(true), "DryRunOperation"),
        (run(&ec2, 4), "InstanceLimitExceeded"),
    ] {
        assert_eq!(code(launch.send().await.unwrap_err()), expected);
    }
    let nothing = ec2.start_instances().send().await.unwrap_err();
    assert_eq!(code(nothing), "MissingParameter");
    for (id, expected) in [
        (ABSENT, "InvalidInstanceID.NotFound"),
        ("nonsense", "InvalidInstanceID.Malformed"),
    ] {
        let described = ec2.describe_instances().instance_ids(id).send().await;
        let rebooted = ec2.reboot_instances().instance_ids(id).send().await;
        for found in [
            code(described.unwrap_err()),
            code(start(&ec2, id).await.unwrap_err()),
            code(stop(&ec2, id).await.unwrap_err()),
            code(terminate(&ec2, id).await.unwrap_err()),
            code(rebooted.unwrap_err()),
        ] {
            assert_eq!(found, expected);
        }
    }
    let unknown = ec2.describe_vpcs().send().await.unwrap_err();
    assert_eq!(code(unknown), "InvalidAction");
    // A launch gets as many as the limit allows if that satisfies its minimum.
    assert_eq!(launched(run(&ec2, 1).max_count(9)).await.len(), 3);
    cloud.stop().await;
}

#[tokio::test]
async fn configured_instances_are_booted_and_images_described() {
    let boot = BootInstance {
        image: "ami-test".to_owned(),
        tags: [("Name".to_owned(), "web-instance".to_owned())].into(),
        user_data: Some("A=1".to_owned()),
        instance_profile: None,
    };
    let cloud = Cloud::with(Config {
        images: vec![image("ami-test", SLEEPER), image("ami-other", SLEEPER)],
        instances: vec![boot],
        ..Config::default()
    })
    .await;
    let ec2 = cloud.ec2();
    running(&ec2, 1).await;
    let web = described(&ec2, vec![filter("tag:Name", &["web-instance"])]).await;
    assert_eq!(web.len(), 1);
    let images = ec2.describe_images().filters(filter("name", &["ami-o*"]));
    let images = images.send().await.unwrap();
    assert_eq!(images.images()[0].image_id(), Some("ami-other"));
    let all = ec2.describe_images().send().await.unwrap();
    assert_eq!(all.images().len(), 2);
    cloud.stop().await;
}
