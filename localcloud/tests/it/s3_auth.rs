//! S3: whose requests are answered.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use aws_sdk_s3::{Client, config};

use crate::cloud::{Cloud, code, get};

const BUCKET: &str = "a-bucket";

fn with_key(cloud: &Cloud, access_key: &str, secret_key: &str) -> Client {
    let credentials = Credentials::new(access_key, secret_key, None, None, "tests");
    let config = config::Builder::from(&cloud.sdk())
        .credentials_provider(credentials)
        .force_path_style(true);
    Client::from_conf(config.build())
}

/// What is answered to a URL that was presigned at a time.
async fn presigned(cloud: &Cloud, start: SystemTime) -> (u16, String) {
    let config = PresigningConfig::builder()
        .start_time(start)
        .expires_in(Duration::from_secs(60))
        .build()
        .unwrap();
    let url = cloud.s3().get_object().bucket(BUCKET).key("a");
    let url = url.presigned(config).await.unwrap();
    let path = url.uri().strip_prefix(&cloud.endpoint).unwrap();
    let address = cloud.endpoint.trim_start_matches("http://");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    crate::cloud::raw(&cloud.endpoint, &request).await
}

#[tokio::test]
async fn strangers_are_refused_by_what_is_wrong_with_them() {
    let cloud = Cloud::start().await;
    cloud
        .s3()
        .create_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let put = cloud.s3().put_object().bucket(BUCKET).key("a");
    put.body(ByteStream::from_static(b"body"))
        .send()
        .await
        .unwrap();
    let unknown = with_key(&cloud, "stranger", "test")
        .list_buckets()
        .send()
        .await;
    assert_eq!(code(unknown.unwrap_err()), "InvalidAccessKeyId");
    let wrong = with_key(&cloud, "test", "wrong")
        .list_buckets()
        .send()
        .await;
    assert_eq!(code(wrong.unwrap_err()), "SignatureDoesNotMatch");
    let (status, body) = get(&cloud.endpoint, "/a-bucket/a").await;
    assert_eq!(status, 403);
    assert!(body.contains("<Code>AccessDenied</Code>"), "{body}");

    let now = SystemTime::now();
    assert_eq!(presigned(&cloud, now).await, (200, "body".to_owned()));
    let (status, body) = presigned(&cloud, now - Duration::from_secs(120)).await;
    assert_eq!(status, 403);
    assert!(
        body.contains("<Message>Request has expired</Message>"),
        "{body}"
    );
    let (status, body) = presigned(&cloud, now + Duration::from_secs(20 * 60)).await;
    assert_eq!(status, 403);
    assert!(body.contains("<Code>RequestTimeTooSkewed</Code>"), "{body}");
}

#[tokio::test]
async fn with_any_credentials_nobody_is_refused_and_bytes_are_still_verified() {
    let cloud = Cloud::for_everybody().await;
    let s3 = with_key(&cloud, "stranger", "wrong");
    s3.create_bucket().bucket(BUCKET).send().await.unwrap();
    // Larger bodies come in several pieces, with the checksum behind them.
    for size in [0, 4, 100_000, 3_000_000] {
        let bytes: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
        let put = s3.put_object().bucket(BUCKET).key("a");
        let put = put.checksum_algorithm(ChecksumAlgorithm::Crc32C);
        let put = put
            .body(ByteStream::from(bytes.clone()))
            .send()
            .await
            .unwrap();
        assert!(put.checksum_crc32_c().is_some());
        let got = s3
            .get_object()
            .bucket(BUCKET)
            .key("a")
            .send()
            .await
            .unwrap();
        assert!(got.body.collect().await.unwrap().to_vec() == bytes);
    }
    let wrong = s3
        .put_object()
        .bucket(BUCKET)
        .key("a")
        .checksum_crc32("AAAAAA==");
    let wrong = wrong.body(ByteStream::from_static(b"body")).send().await;
    assert_eq!(code(wrong.unwrap_err()), "BadDigest");
    let put = s3.put_object().bucket(BUCKET).key("a");
    put.body(ByteStream::from_static(b"body"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        get(&cloud.endpoint, "/a-bucket/a").await,
        (200, "body".to_owned())
    );
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    assert_eq!(presigned(&cloud, long_ago).await, (200, "body".to_owned()));
    let chunks = "PUT /a-bucket/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
        x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-trailer: x-amz-checksum-crc32\r\n\
        x-amz-decoded-content-length: 4\r\nContent-Length: 51\r\n\r\n\
        4\r\nbody\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n     ";
    let (status, body) = crate::cloud::raw(&cloud.endpoint, chunks).await;
    assert_eq!(status, 400);
    assert!(body.contains("<Code>BadDigest</Code>"), "{body}");
}
