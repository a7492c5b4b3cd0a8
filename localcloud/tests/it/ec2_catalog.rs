//! Regions, zones, types, statuses, and the filters of descriptions.

use aws_sdk_ec2::types::{
    InstanceStateName, InstanceType, ResourceType, SummaryStatus, TagSpecification,
};

use crate::cloud::{Cloud, code};
use crate::instances::{
    SLEEPER, describe, described, filter, in_state, instance_tag, launched, run, running, stop, tag,
};

#[tokio::test]
async fn regions_zones_and_types_are_listed() {
    let cloud = Cloud::start().await;
    let ec2 = cloud.ec2();
    let regions = ec2.describe_regions().send().await.unwrap();
    assert!(regions.regions().len() >= 17);
    let one = ec2.describe_regions().region_names("eu-west-1").send();
    let one = one.await.unwrap();
    assert_eq!(
        one.regions()[0].endpoint(),
        Some("ec2.eu-west-1.amazonaws.com")
    );
    let unknown = ec2.describe_regions().region_names("mars-1").send();
    assert_eq!(code(unknown.await.unwrap_err()), "InvalidParameterValue");
    let zones = ec2.describe_availability_zones();
    let zones = zones.filters(filter("zone-name", &["*b"])).send();
    let zones = zones.await.unwrap();
    let zone = &zones.availability_zones()[0];
    assert_eq!(
        (zone.zone_name(), zone.zone_id()),
        (Some("us-east-1b"), Some("use1-az2"))
    );
    let types = ec2.describe_instance_types();
    let types = types.instance_types(InstanceType::T3Micro).send();
    let types = types.await.unwrap();
    let micro = &types.instance_types()[0];
    assert_eq!(micro.v_cpu_info().unwrap().default_v_cpus(), Some(2));
    assert_eq!(micro.memory_info().unwrap().size_in_mib(), Some(1024));
    let mut pages = ec2.describe_instance_types().max_results(30);
    pages = pages.filters(filter("vcpu-info.default-vcpus", &["2"]));
    let mut pages = pages.into_paginator().items().send();
    let mut names = Vec::new();
    while let Some(found) = pages.next().await {
        names.push(found.unwrap().instance_type().unwrap().clone());
    }
    assert!(names.contains(&InstanceType::C5Large), "{names:?}");
    assert!(!names.contains(&InstanceType::C5Xlarge), "{names:?}");
    let unknown = ec2.describe_instance_types();
    let unknown = unknown.instance_types("x9.huge".into()).send();
    assert_eq!(code(unknown.await.unwrap_err()), "InvalidInstanceType");
    cloud.stop().await;
}

#[tokio::test]
async fn every_property_of_an_instance_filters_it() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let launch = run(&ec2, 1)
        .instance_type("t3.micro".into())
        .key_name("key")
        .subnet_id("subnet-1")
        .client_token("token")
        .tag_specifications(instance_tag("Name", "a*b"));
    let id = launched(launch).await.remove(0);
    launched(run(&ec2, 1).instance_type("c5.large".into())).await;
    running(&ec2, 2).await;
    let instance = describe(&ec2, &id).await;
    let address = instance.private_ip_address().unwrap().to_owned();
    assert!(address.starts_with("127."), "{address}");
    let name = instance.private_dns_name().unwrap();
    assert_eq!(
        name,
        format!("ip-{}.ec2.internal", address.replace('.', "-"))
    );
    for (name, value) in [
        ("instance-id", id.as_str()),
        ("instance-type", "t3.*"),
        ("private-ip-address", &address),
        ("private-dns-name", name),
        ("tag:Name", r"a\*b"),
        ("tag-key", "Na?e"),
        ("key-name", "key"),
        ("subnet-id", "subnet-1"),
        ("client-token", "token"),
    ] {
        let found = described(&ec2, vec![filter(name, &[value])]).await;
        assert_eq!(found.len(), 1, "{name} {value}");
        assert_eq!(found[0].instance_id(), Some(id.as_str()), "{name}");
    }
    for (name, value, count) in [
        ("availability-zone", "us-east-1a", 2),
        ("availability-zone-id", "use1-az1", 2),
        ("launch-time", "20*", 2),
        ("launch-time", "1999-*", 0),
        ("launch-index", "0", 2),
        ("instance-state-code", "16", 2),
        ("instance-lifecycle", "spot", 0),
        ("metadata-options.http-tokens", "required", 2),
        ("monitoring-state", "disabled", 2),
        ("owner-id", "*", 2),
        ("ip-address", "127.0.0.1", 2),
        ("tag:Name", "a?*c", 0),
        ("vpc-id", "*", 0),
        ("network-interface.status", "in-use", 0),
    ] {
        let found = described(&ec2, vec![filter(name, &[value])]).await;
        assert_eq!(found.len(), count, "{name} {value}");
    }
    // An unknown filter is refused also if another filter matches nothing.
    let nothing = ec2.describe_instances();
    let nothing = nothing.filters(filter("instance-id", &["i-0"]));
    let unknown = nothing.filters(filter("tag:", &["x"])).send().await;
    assert_eq!(code(unknown.unwrap_err()), "InvalidParameterValue");
    cloud.stop().await;
}

#[tokio::test]
async fn statuses_have_filters_of_their_own() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let ids = launched(run(&ec2, 2)).await;
    running(&ec2, 2).await;
    stop(&ec2, &ids[0]).await.unwrap();
    in_state(&ec2, &ids[0], InstanceStateName::Stopped).await;
    let ask = || ec2.describe_instance_status();
    let running = ask().send().await.unwrap();
    assert_eq!(running.instance_statuses().len(), 1);
    let all = ask().include_all_instances(true).send().await.unwrap();
    let summaries: Vec<_> = all
        .instance_statuses()
        .iter()
        .map(|one| one.instance_status().unwrap().status().unwrap().clone())
        .collect();
    assert_eq!(summaries, [SummaryStatus::NotApplicable, SummaryStatus::Ok]);
    for (name, value, count) in [
        ("instance-status.status", "ok", 1),
        ("system-status.reachability", "passed", 1),
        ("instance-status.status", "impaired", 0),
        ("availability-zone", "*a", 1),
        ("event.code", "instance-stop", 0),
    ] {
        let found = ask().filters(filter(name, &[value])).send().await.unwrap();
        assert_eq!(found.instance_statuses().len(), count, "{name} {value}");
    }
    let foreign = ask().filters(filter("tag:Name", &["x"])).send().await;
    assert_eq!(code(foreign.unwrap_err()), "InvalidParameterValue");
    cloud.stop().await;
}

#[tokio::test]
async fn tags_come_in_pages() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let ids = launched(run(&ec2, 3)).await;
    let tags = (0..4).map(|number| tag(&format!("k {number}"), "v"));
    let tagging = ec2.create_tags().set_resources(Some(ids.clone()));
    tagging.set_tags(Some(tags.collect())).send().await.unwrap();
    let mut pages = ec2.describe_tags().max_results(5).into_paginator().send();
    let mut seen = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.tags().len() <= 5);
        for tag in page.tags() {
            let resource = tag.resource_id().unwrap().to_owned();
            seen.push((resource, tag.key().unwrap().to_owned()));
        }
    }
    assert_eq!(seen.len(), 12);
    assert!(seen.is_sorted_by(|one, other| one < other), "{seen:?}");
    let too_few = ec2.describe_tags().max_results(4).send().await;
    assert_eq!(code(too_few.unwrap_err()), "InvalidParameterValue");
    cloud.stop().await;
}

#[tokio::test]
async fn invalid_launches_are_refused() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let specification = |kind: ResourceType, tags: &[&str]| {
        let tags = tags.iter().map(|key| tag(key, ""));
        TagSpecification::builder()
            .resource_type(kind)
            .set_tags(Some(tags.collect()))
            .build()
    };
    for refused in [
        specification(ResourceType::Image, &["a"]),
        specification(ResourceType::Instance, &[]),
        specification(ResourceType::Instance, &["a", "a"]),
        specification(ResourceType::Instance, &["aws:a"]),
    ] {
        let launch = run(&ec2, 1).tag_specifications(refused.clone());
        let error = launch.send().await.unwrap_err();
        assert_eq!(code(error), "InvalidParameterValue", "{refused:?}");
    }
    let volumes = run(&ec2, 1).tag_specifications(specification(ResourceType::Volume, &["a"]));
    let ids = launched(volumes).await;
    assert!(describe(&ec2, &ids[0]).await.tags().is_empty());
    let long = run(&ec2, 1).client_token("x".repeat(65)).send().await;
    assert_eq!(code(long.unwrap_err()), "InvalidParameterValue");
    cloud.stop().await;
}
