//! Registered images, their tags, and the console output of their instances.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Image, InstanceStateName, ResourceType, TagSpecification};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cloud::{Cloud, code, eventually};
use crate::instances::{
    ABSENT, SLEEPER, filter, in_state, launched, run, running, start, stop, tag,
};

async fn register(ec2: &Client, name: &str, location: &str) -> String {
    let registering = ec2.register_image().name(name).image_location(location);
    let registered = registering.send().await.unwrap();
    registered.image_id().unwrap().to_owned()
}

async fn launch(ec2: &Client, image: &str) -> String {
    launched(run(ec2, 1).image_id(image)).await.remove(0)
}

async fn console_output(ec2: &Client, id: &str) -> Vec<u8> {
    let console = ec2.get_console_output().instance_id(id).send().await;
    let console = console.unwrap();
    assert_eq!(console.instance_id(), Some(id));
    assert!(console.timestamp().is_some());
    STANDARD
        .decode(console.output().unwrap_or_default())
        .unwrap()
}

async fn images(ec2: &Client, name: &str, value: &str) -> Vec<Image> {
    let describing = ec2.describe_images().filters(filter(name, &[value]));
    describing.send().await.unwrap().images.unwrap_or_default()
}

#[tokio::test]
async fn a_registered_image_runs_its_command_with_its_environment() {
    let cloud = Cloud::start().await;
    let ec2 = cloud.ec2();
    let manifest = r#"{"command": ["sh", "-c", "echo greeting=$GREETING; exec sleep 1000"], "env": {"GREETING": "a b"}}"#;
    let image = register(&ec2, "greeter", manifest).await;
    assert!(image.starts_with("ami-"), "{image}");
    let id = launch(&ec2, &image).await;
    eventually("the instance logs", || async {
        (console_output(&ec2, &id).await == b"greeting=a b\n").then_some(())
    })
    .await;
    cloud.stop().await;
}

#[tokio::test]
async fn the_console_shows_the_last_64_kib() {
    let cloud = Cloud::start().await;
    let ec2 = cloud.ec2();
    let script = "head -c 70000 /dev/zero | tr '\\0' 'x'; echo; echo the end; exec sleep 1000";
    let manifest = serde_json::json!(["sh", "-c", script]).to_string();
    let image = register(&ec2, "writer", &manifest).await;
    let id = launch(&ec2, &image).await;
    let output = eventually("everything is logged", || async {
        let output = console_output(&ec2, &id).await;
        output.ends_with(b"\nthe end\n").then_some(output)
    })
    .await;
    assert_eq!(output.len(), 64 * 1024);
    let unknown = ec2.get_console_output().instance_id(ABSENT);
    assert_eq!(
        code(unknown.send().await.unwrap_err()),
        "InvalidInstanceID.NotFound"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn images_are_found_by_name_owner_and_tags() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let sleeper = r#"["sleep", "1000"]"#;
    let first = register(&ec2, "pool/a-1", sleeper).await;
    let specification = TagSpecification::builder().resource_type(ResourceType::Image);
    let second = ec2
        .register_image()
        .name("pool/b-1")
        .image_location(sleeper)
        .description("the second")
        .tag_specifications(specification.tags(tag("Pool", "b*")).build())
        .send()
        .await
        .unwrap();
    let second = second.image_id().unwrap().to_owned();
    let tagging = ec2.create_tags().resources(&first).tags(tag("Pool", "a"));
    tagging.send().await.unwrap();
    for (name, value, expected) in [
        ("name", "pool/*", vec![&first, &second]),
        ("name", "pool/?-1", vec![&first, &second]),
        ("tag:Pool", "a", vec![&first]),
        ("tag:Pool", r"b\*", vec![&second]),
        ("tag-key", "Po*", vec![&first, &second]),
        ("description", "*second", vec![&second]),
        ("state", "pending", vec![]),
        ("platform", "windows", vec![]),
    ] {
        let found = images(&ec2, name, value).await;
        let ids: Vec<&str> = found.iter().filter_map(Image::image_id).collect();
        assert_eq!(ids, expected, "{name} {value}");
    }
    let owned = |owner: &str| ec2.describe_images().owners(owner).send();
    assert_eq!(owned("self").await.unwrap().images().len(), 3);
    assert_eq!(owned("amazon").await.unwrap().images().len(), 0);
    let mut pages = ec2.describe_images().max_results(2).into_paginator().send();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        sizes.push(page.unwrap().images().len());
    }
    assert_eq!(sizes, [2, 1]);
    let tags = ec2.describe_tags();
    let tags = tags.filters(filter("resource-type", &["image"])).send();
    assert_eq!(tags.await.unwrap().tags().len(), 2);
    let untagging = ec2.delete_tags().resources(&first).send();
    untagging.await.unwrap();
    assert_eq!(images(&ec2, "tag-key", "Pool").await.len(), 1);
    let unknown = ec2.describe_images().filters(filter("color", &["red"]));
    assert_eq!(
        code(unknown.send().await.unwrap_err()),
        "InvalidParameterValue"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn a_deregistered_image_launches_nothing_and_its_instances_still_start() {
    let cloud = Cloud::start().await;
    let ec2 = cloud.ec2();
    let image = register(&ec2, "sleeper", r#"["sleep", "1000"]"#).await;
    let id = launch(&ec2, &image).await;
    running(&ec2, 1).await;
    let deregister = || ec2.deregister_image().image_id(&image).send();
    deregister().await.unwrap();
    assert_eq!(
        code(deregister().await.unwrap_err()),
        "InvalidAMIID.Unavailable"
    );
    let refused = run(&ec2, 1).image_id(&image).send().await;
    assert_eq!(code(refused.unwrap_err()), "InvalidAMIID.Unavailable");
    assert_eq!(images(&ec2, "name", "*").await.len(), 0);
    stop(&ec2, &id).await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    start(&ec2, &id).await.unwrap();
    running(&ec2, 1).await;
    // The name is free again.
    register(&ec2, "sleeper", r#"["sleep", "1000"]"#).await;
    cloud.stop().await;
}

#[tokio::test]
async fn invalid_images_are_refused() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let refused = |name: &str, location: &str| {
        let registering = ec2.register_image().name(name).image_location(location);
        async { code(registering.send().await.unwrap_err()) }
    };
    let sleeper = r#"["sleep", "1000"]"#;
    assert_eq!(refused("ab", sleeper).await, "InvalidAMIName.Malformed");
    assert_eq!(
        refused("ami-test-name", sleeper).await,
        "InvalidAMIName.Duplicate"
    );
    for location in [
        "bucket/image.manifest.xml",
        "[]",
        "{}",
        r#"{"command": ["a"], "script": "b"}"#,
        r#"["a\u0000"]"#,
        r#"{"command": ["a"], "env": {"A=B": ""}}"#,
    ] {
        assert_eq!(
            refused("image", location).await,
            "InvalidManifest",
            "{location}"
        );
    }
    let without = ec2.register_image().name("image").send().await;
    assert_eq!(code(without.unwrap_err()), "MissingParameter");
    let describe = |id: &str| ec2.describe_images().image_ids(id).send();
    assert_eq!(
        code(describe("nonsense").await.unwrap_err()),
        "InvalidAMIID.Malformed"
    );
    assert_eq!(
        code(describe("ami-absent").await.unwrap_err()),
        "InvalidAMIID.NotFound"
    );
    cloud.stop().await;
}
