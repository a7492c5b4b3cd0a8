//! EC2 with API rate limits, as the SDK meets them.

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use localcloud::{Config, Ec2Faults, RateLimit, RateLimits};

use crate::cloud::{Cloud, ec2_without_retries, get, image, status_and_code};
use crate::ec2::{described, launched, run};
use crate::killed::start_with;

const SLEEPER: &str = "exec sleep 1000";

fn bucket(size: u32, refill_per_second: f64) -> RateLimit {
    RateLimit {
        size,
        refill_per_second,
    }
}

async fn cloud_limited_by(limits: RateLimits) -> Cloud {
    Cloud::with(Config {
        images: vec![image("ami-test", SLEEPER)],
        faults: Ec2Faults {
            limits,
            ..Ec2Faults::default()
        }
        .into(),
        ..Config::default()
    })
    .await
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
async fn calls_over_the_limit_are_refused_change_nothing_and_are_counted() {
    let cloud = cloud_limited_by(RateLimits {
        requests: [
            ("StartInstances".to_owned(), bucket(2, 0.0)),
            ("CreateTags".to_owned(), bucket(1, 0.0)),
        ]
        .into(),
        ..RateLimits::default()
    })
    .await;
    let ec2 = cloud.ec2_without_retries();
    let id = launched(run(&ec2, 1)).await.remove(0);
    for _ in 0..2 {
        ec2.start_instances()
            .instance_ids(&id)
            .send()
            .await
            .unwrap();
    }
    for _ in 0..3 {
        let refused = ec2.start_instances().instance_ids(&id).send().await;
        let refused = refused.unwrap_err();
        assert_eq!(
            refused.as_service_error().unwrap().message(),
            Some("Request limit exceeded.")
        );
        assert_eq!(
            status_and_code(refused),
            (503, "RequestLimitExceeded".to_owned())
        );
    }
    assert_eq!(throttled_calls(&cloud.endpoint, "StartInstances").await, 3);

    let tag = |key: &str| {
        let tag = aws_sdk_ec2::types::Tag::builder().key(key).value("x");
        ec2.create_tags().resources(&id).tags(tag.build())
    };
    tag("first").send().await.unwrap();
    tag("second").send().await.unwrap_err();
    let tags = described(&ec2, vec![]).await[0].tags().to_vec();
    assert_eq!(tags.len(), 1, "{tags:?}");
    assert_eq!(tags[0].key(), Some("first"));
    cloud.stop().await;
}

#[tokio::test]
async fn each_instance_of_a_call_takes_a_token_of_the_resource_bucket() {
    let cloud = cloud_limited_by(RateLimits {
        resources: [
            ("RunInstances".to_owned(), bucket(3, 0.0)),
            ("TerminateInstances".to_owned(), bucket(2, 0.0)),
        ]
        .into(),
        ..RateLimits::default()
    })
    .await;
    let ec2 = cloud.ec2_without_retries();
    let mut ids = launched(run(&ec2, 2)).await;
    let refused = run(&ec2, 2).send().await.unwrap_err();
    assert_eq!(
        status_and_code(refused),
        (503, "RequestLimitExceeded".to_owned())
    );
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
async fn the_sdk_gets_through_a_bucket_that_refills() {
    let cloud = cloud_limited_by(RateLimits {
        requests: [("DescribeInstances".to_owned(), bucket(1, 5.0))].into(),
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
async fn the_binary_keeps_awss_limits_when_asked_to_and_those_of_its_file() {
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

    // However slow this machine is, so many at once come sooner than AWS's two a second.
    let start = || async {
        let unknown = ec2.start_instances().instance_ids("i-0123456789abcdef0");
        status_and_code(unknown.send().await.unwrap_err()).1
    };
    let mut codes = Vec::new();
    for _ in 0..40 {
        codes.push(start().await);
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
