//! API rate limits of EC2, with the SDK.

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use localcloud::{Ec2Faults, RateLimit, RateLimits};

use crate::cloud::{Cloud, ec2_without_retries, get, status_and_code};
use crate::instances::{ABSENT, SLEEPER, described, launch, launched, run, start, tag};
use crate::killed::start_with;

fn limit(size: u32, refill_per_second: f64) -> RateLimit {
    RateLimit {
        size,
        refill_per_second,
    }
}

async fn cloud_limited_by(limits: RateLimits) -> Cloud {
    let faults = Ec2Faults {
        limits,
        ..Ec2Faults::default()
    };
    Cloud::with_ec2_faults(SLEEPER, faults).await
}

fn limit_exceeded() -> (u16, String) {
    (503, "RequestLimitExceeded".to_owned())
}

async fn throttled_calls(endpoint: &str, action: &str) -> u64 {
    let counter =
        format!(r#"localcloud_calls_total{{service="ec2",action="{action}",status="503"}} "#);
    let (_, metrics) = get(endpoint, "/metrics").await;
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(&counter))
        .map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn calls_above_the_limit_are_refused_and_counted_and_change_nothing() {
    let cloud = cloud_limited_by(RateLimits {
        requests: [
            ("StartInstances".to_owned(), limit(2, 0.0)),
            ("CreateTags".to_owned(), limit(1, 0.0)),
        ]
        .into(),
        ..RateLimits::default()
    })
    .await;
    let ec2 = cloud.ec2_without_retries();
    let id = launch(&ec2).await;
    for _ in 0..2 {
        start(&ec2, &id).await.unwrap();
    }
    for _ in 0..3 {
        let refused = start(&ec2, &id).await.unwrap_err();
        let message = refused.as_service_error().unwrap().message();
        assert_eq!(message, Some("Request limit exceeded."));
        assert_eq!(status_and_code(refused), limit_exceeded());
    }
    assert_eq!(throttled_calls(&cloud.endpoint, "StartInstances").await, 3);

    let create_tag = |key: &str| ec2.create_tags().resources(&id).tags(tag(key, "x"));
    create_tag("first").send().await.unwrap();
    create_tag("second").send().await.unwrap_err();
    let tags = described(&ec2, vec![]).await[0].tags().to_vec();
    assert_eq!(tags.len(), 1, "{tags:?}");
    assert_eq!(tags[0].key(), Some("first"));
    cloud.stop().await;
}

#[tokio::test]
async fn each_instance_of_a_call_takes_a_token_of_the_resource_bucket() {
    let cloud = cloud_limited_by(RateLimits {
        resources: [
            ("RunInstances".to_owned(), limit(3, 0.0)),
            ("TerminateInstances".to_owned(), limit(2, 0.0)),
        ]
        .into(),
        ..RateLimits::default()
    })
    .await;
    let ec2 = cloud.ec2_without_retries();
    let mut ids = launched(run(&ec2, 2)).await;
    let refused = run(&ec2, 2).send().await.unwrap_err();
    assert_eq!(status_and_code(refused), limit_exceeded());
    ids.extend(launched(run(&ec2, 1)).await);
    assert_eq!(described(&ec2, vec![]).await.len(), 3);
    let terminate = |ids: &[String]| {
        ec2.terminate_instances()
            .set_instance_ids(Some(ids.to_vec()))
            .send()
    };
    terminate(&ids).await.unwrap_err();
    terminate(&ids[..2]).await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn the_sdk_retries_until_the_bucket_is_refilled() {
    let cloud = cloud_limited_by(RateLimits {
        requests: [("DescribeInstances".to_owned(), limit(1, 5.0))].into(),
        ..RateLimits::default()
    })
    .await;
    let retries = RetryConfig::standard()
        .with_max_attempts(20)
        .with_initial_backoff(Duration::from_millis(50));
    let patient = aws_sdk_ec2::config::Builder::from(&cloud.sdk()).retry_config(retries);
    let ec2 = Client::from_conf(patient.build());
    for _ in 0..5 {
        ec2.describe_instances().send().await.unwrap();
    }
    assert!(throttled_calls(&cloud.endpoint, "DescribeInstances").await > 0);
    cloud.stop().await;
}

#[tokio::test]
async fn the_binary_applies_awss_limits_and_those_of_its_file() {
    let file = r#"
        [ec2.limits.requests]
        DescribeImages = { size = 3, refill_per_second = 0 }
    "#;
    let folder = tempfile::tempdir().unwrap();
    let faults = folder.path().join("faults.toml");
    std::fs::write(&faults, file).unwrap();
    let started = start_with(
        "",
        &["--ec2-limits", "aws", "--faults", faults.to_str().unwrap()],
    );
    let ec2 = ec2_without_retries(&started.endpoint);
    let mut described_before_refusal = 0;
    let refused = loop {
        match ec2.describe_images().send().await {
            Ok(_) => described_before_refusal += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(described_before_refusal, 3);
    assert_eq!(status_and_code(refused).1, "RequestLimitExceeded");

    // Also a slow machine makes these calls faster than AWS's two per second.
    let mut codes = Vec::new();
    for _ in 0..40 {
        codes.push(status_and_code(start(&ec2, ABSENT).await.unwrap_err()).1);
    }
    assert!(
        codes[..5]
            .iter()
            .all(|code| code == "InvalidInstanceID.NotFound"),
        "{codes:?}"
    );
    let throttled = codes
        .iter()
        .filter(|code| *code == "RequestLimitExceeded")
        .count() as u64;
    assert!(throttled > 0, "{codes:?}");
    assert_eq!(
        throttled_calls(&started.endpoint, "StartInstances").await,
        throttled
    );
}
