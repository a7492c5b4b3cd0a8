//! What localcloud does not have: addresses of subnets, offerings, other processors and quotas.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::aws::{Aws, AwsArgs};

const SUBNETS: &str = "<DescribeSubnetsResponse><subnetSet><item><availabilityZone>eu-central-1a</availabilityZone>\
    <availableIpAddressCount>FREE</availableIpAddressCount></item></subnetSet></DescribeSubnetsResponse>";
const TYPES: &str = "<DescribeInstanceTypesResponse><instanceTypeSet><item><instanceType>c7i.large</instanceType>\
    <processorInfo><supportedArchitectures><item>PROCESSOR</item></supportedArchitectures></processorInfo>\
    <vCpuInfo><defaultVCpus>2</defaultVCpus></vCpuInfo></item></instanceTypeSet></DescribeInstanceTypesResponse>";
const OFFERINGS: &str = "<DescribeInstanceTypeOfferingsResponse><instanceTypeOfferingSet><item>\
    <instanceType>OFFERED</instanceType></item></instanceTypeOfferingSet></DescribeInstanceTypeOfferingsResponse>";
const IMAGES: &str = "<DescribeImagesResponse><imagesSet><item><imageState>STATE</imageState>\
    <architecture>ARCHITECTURE</architecture></item></imagesSet></DescribeImagesResponse>";
const QUOTA: &str = r#"{"Quota": {"Value": LIMIT}}"#;

/// Starts an AWS whose replies are fixed, by the action.
async fn aws(replies: &[(&'static str, String)]) -> Preflight {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let args = AwsArgs {
        endpoint_url: Some(format!("http://{}", listener.local_addr().unwrap())),
        region: Some("eu-central-1".to_owned()),
        prefix: "muster".to_owned(),
    };
    let replies: HashMap<_, _> = replies.iter().cloned().collect();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let (mut request, mut part) = (String::new(), [0; 16_384]);
            let reply = loop {
                let read = connection.read(&mut part).await.unwrap();
                assert!(read > 0, "no reply to {request}");
                request += &String::from_utf8_lossy(&part[..read]);
                let is_asked = |action: &str| {
                    request.contains(&format!("Action={action}&"))
                        || request.contains(&format!(".{action}\r\n"))
                };
                if let Some((_, reply)) = replies.iter().find(|(action, _)| is_asked(action)) {
                    break reply;
                }
            };
            let length = reply.len();
            let reply = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{reply}"
            );
            drop(connection.write_all(reply.as_bytes()).await);
        }
    });
    let config = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .endpoint_url(args.endpoint_url.clone().unwrap())
        .region(aws_config::Region::new("eu-central-1"))
        .http_client(crate::aws::http_client())
        .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(
            aws_sdk_s3::config::Credentials::new("test", "test", None, None, "fixed"),
        ))
        .build();
    Preflight {
        fleet: Aws::connect_as(&args, "test", "test").await.fleet(),
        quotas: Some(aws_sdk_servicequotas::Client::new(&config)),
        spec: LaunchSpec::default(),
        instance_types: vec!["c7i.large".to_owned()],
        subnet_ids: vec!["subnet-1".to_owned()],
        names: "app-tier-instance*".to_owned(),
        max_workers: 15,
        buckets: Vec::new(),
    }
}

fn line(verdict: Verdict) -> String {
    let check = "check";
    Finding { check, verdict }.to_string()
}

#[tokio::test]
async fn subnets_need_an_address_for_each_worker() {
    for (free, expected) in [
        ("0", "FAIL  check: 0 free addresses for 15 workers: "),
        ("14", "warn  check: 14 free addresses for 15 workers: "),
        ("15", "ok    check: 15 free addresses for 15 workers"),
    ] {
        let aws = aws(&[("DescribeSubnets", SUBNETS.replace("FREE", free))]).await;
        let line = line(aws.subnets().await.unwrap());
        assert!(line.starts_with(expected), "{line}");
    }
}

#[tokio::test]
async fn an_image_is_available_and_for_x86_64() {
    for (state, architecture, expected) in [
        ("available", "x86_64", "ok    check: "),
        (
            "available",
            "arm64",
            "FAIL  check:  is available, for arm64: set MUSTER_WORKER_IMAGE",
        ),
        (
            "pending",
            "x86_64",
            "FAIL  check:  is pending, for x86_64: set MUSTER_WORKER_IMAGE",
        ),
    ] {
        let images = IMAGES.replace("STATE", state);
        let images = images.replace("ARCHITECTURE", architecture);
        let aws = aws(&[("DescribeImages", images)]).await;
        let line = line(aws.image().await.unwrap());
        assert!(line.starts_with(expected), "{line}");
    }
}

#[tokio::test]
async fn instance_types_are_x86_64_and_offered_in_the_subnets_zones() {
    for (processor, offered, expected) in [
        (
            "x86_64",
            "c7i.large",
            "ok    check: c7i.large in eu-central-1a",
        ),
        (
            "x86_64",
            "m7i.large",
            "FAIL  check: c7i.large is not offered in eu-central-1a: ",
        ),
        (
            "arm64",
            "c7i.large",
            "FAIL  check: c7i.large is not x86_64: ",
        ),
    ] {
        let aws = aws(&[
            (
                "DescribeInstanceTypes",
                TYPES.replace("PROCESSOR", processor),
            ),
            ("DescribeSubnets", SUBNETS.replace("FREE", "100")),
            (
                "DescribeInstanceTypeOfferings",
                OFFERINGS.replace("OFFERED", offered),
            ),
        ])
        .await;
        let line = line(aws.instance_types().await.unwrap());
        assert!(line.starts_with(expected), "{line}");
    }
}

#[tokio::test]
async fn the_quota_is_compared_with_the_maximum() {
    for (limit, expected) in [
        (
            "1.0",
            "FAIL  check: 1 vCPUs (L-1216C47A); 15 workers need 30: request",
        ),
        (
            "16.0",
            "warn  check: 16 vCPUs (L-1216C47A); 15 workers need 30: request",
        ),
        (
            "30.0",
            "ok    check: 30 vCPUs (L-1216C47A); 15 workers need 30",
        ),
    ] {
        let aws = aws(&[
            ("GetServiceQuota", QUOTA.replace("LIMIT", limit)),
            ("DescribeInstanceTypes", TYPES.to_owned()),
        ])
        .await;
        let line = line(aws.quota().await.unwrap());
        assert!(line.starts_with(expected), "{line}");
    }
    let aws = aws(&[
        ("GetServiceQuota", QUOTA.replace("LIMIT", "16.0")),
        ("DescribeInstanceTypes", TYPES.to_owned()),
    ])
    .await;
    let line = line(aws.quota().await.unwrap());
    assert!(line.ends_with("or set MUSTER_MAX_WORKERS=8"), "{line}");
}

#[test]
fn standard_types_are_told_by_their_family() {
    for (kind, expected) in [
        ("c7i.large", true),
        ("m7i-flex.large", true),
        ("im4gn.large", true),
        ("t3.micro", true),
        ("g5.xlarge", false),
        ("inf2.xlarge", false),
        ("hpc7a.12xlarge", false),
    ] {
        assert_eq!(is_standard(kind), expected, "{kind}");
    }
}

#[test]
fn the_encoded_part_of_a_refusal_is_left_out() {
    let message = "You are not authorized to perform this operation. User: arn:aws:sts::1:assumed-role/x/i-1 is not \
        authorized to perform: ec2:RunInstances. Encoded authorization failure message: AbCd";
    let error = FleetError::Refused {
        code: "UnauthorizedOperation".to_owned(),
        message: message.to_owned(),
    };
    let brief = brief(&error);
    assert!(brief.ends_with("ec2:RunInstances"), "{brief}");
}

#[tokio::test]
async fn an_unreachable_endpoint_is_named_in_one_short_line() {
    let mut aws = aws(&[]).await;
    let args = AwsArgs {
        endpoint_url: Some("http://127.0.0.1:9".to_owned()),
        region: Some("eu-central-1".to_owned()),
        prefix: "muster".to_owned(),
    };
    aws.fleet = Aws::connect_as(&args, "test", "test").await.fleet();
    let findings = aws.run().await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    let line = findings[0].to_string();
    assert!(
        line.starts_with("FAIL  credentials: EC2 could not be reached: "),
        "{line}"
    );
    assert!(line.ends_with("AWS_REGION, and the network"), "{line}");
    assert!(
        !line.contains('\n') && !line.contains("DispatchFailure"),
        "{line}"
    );
}
