//! S3: authentication.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::ChecksumAlgorithm;
use aws_sdk_s3::{Client, config};

use super::{BUCKET, bytes_of, cloud_with_bucket, create_bucket, head, keys, put, put_request};
use crate::cloud::{Cloud, code, get, raw, request};

fn with_key(cloud: &Cloud, access_key: &str, secret_key: &str) -> Client {
    let credentials = Credentials::new(access_key, secret_key, None, None, "tests");
    let config = config::Builder::from(&cloud.sdk())
        .credentials_provider(credentials)
        .force_path_style(true);
    Client::from_conf(config.build())
}

/// The response to a URL that was presigned at a time.
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

/// A presigned PUT of `mine`, as path and headers.
async fn presigned_put(cloud: &Cloud, role: Option<&str>) -> (String, String) {
    let config = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let put = cloud.s3().put_object().bucket(BUCKET).key("mine");
    let put = put.set_metadata(role.map(|role| [("role".to_owned(), role.to_owned())].into()));
    let url = put.presigned(config).await.unwrap();
    let path = url.uri().strip_prefix(&cloud.endpoint).unwrap().to_owned();
    let headers = url.headers().filter(|(name, _)| *name != "content-length");
    let headers = headers.map(|(name, value)| format!("{name}: {value}\r\n"));
    (path, headers.collect())
}

/// Sends a PUT with the body `body`.
async fn send_put(cloud: &Cloud, path: &str, headers: &str) -> (u16, String) {
    let address = cloud.endpoint.trim_start_matches("http://");
    let sent = request("PUT", path, headers, "body");
    raw(
        &cloud.endpoint,
        &sent.replace("Host: x", &format!("Host: {address}")),
    )
    .await
}

#[tokio::test]
async fn a_presigned_url_allows_no_more_than_its_headers() {
    let (cloud, s3) = cloud_with_bucket().await;
    put(&s3, "secret", "not yours").await;
    let (path, headers) = presigned_put(&cloud, None).await;
    for added in [
        "x-amz-copy-source: a-bucket/secret",
        "X-Amz-Meta-Role: admin",
        "x-amz-tagging: a=b",
        "x-amz-acl: private\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=x-amz-acl, Signature=b",
    ] {
        let (status, reply) = send_put(&cloud, &path, &format!("{headers}{added}\r\n")).await;
        assert_eq!(status, 403, "{added}: {reply}");
        assert!(reply.contains("<Code>AccessDenied</Code>"), "{reply}");
        assert!(
            reply.contains("There were headers present in the request which were not signed"),
            "{reply}"
        );
    }
    assert_eq!(keys(&s3).await, ["secret"]);
    assert_eq!(send_put(&cloud, &path, &headers).await.0, 200);
    let (path, headers) = presigned_put(&cloud, Some("user")).await;
    assert!(headers.contains("x-amz-meta-role: user"), "{headers}");
    assert_eq!(send_put(&cloud, &path, &headers).await.0, 200);
    assert_eq!(head(&s3, "mine").await.metadata().unwrap()["role"], "user");
}

#[tokio::test]
async fn a_presigned_url_is_valid_for_a_week_at_most() {
    let (cloud, _) = cloud_with_bucket().await;
    let (path, headers) = presigned_put(&cloud, None).await;
    for (lifetime, status, code) in [
        ("604801", 400, "AuthorizationQueryParametersError"),
        ("691200", 400, "AuthorizationQueryParametersError"),
        ("0", 400, "AuthorizationQueryParametersError"),
        ("-1", 400, "AuthorizationQueryParametersError"),
        ("604800", 403, "SignatureDoesNotMatch"),
    ] {
        let changed = path.replace("X-Amz-Expires=60", &format!("X-Amz-Expires={lifetime}"));
        let (found, reply) = send_put(&cloud, &changed, &headers).await;
        assert_eq!(found, status, "{lifetime}: {reply}");
        assert!(reply.contains(&format!("<Code>{code}</Code>")), "{reply}");
    }
}

#[tokio::test]
async fn an_unsigned_form_cannot_fill_the_memory() {
    let (cloud, _) = cloud_with_bucket().await;
    let field = "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n";
    let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    let headers = "Content-Type: multipart/form-data; boundary=x\r\n";
    for size in [10, 65 << 20] {
        let form = format!("{field}{file}{}\r\n--x--\r\n", "a".repeat(size));
        let sent = request("POST", &format!("/{BUCKET}"), headers, &form);
        // The refusal does not wait for the file.
        let head = &sent[..sent.find(file).unwrap() + file.len()];
        for sent in [sent.as_str(), head] {
            let (status, body) = raw(&cloud.endpoint, sent).await;
            assert_eq!(status, 403, "{body}");
            assert!(body.contains("<Code>AccessDenied</Code>"), "{body}");
        }
    }
}

#[tokio::test]
async fn unauthenticated_requests_are_refused_by_their_fault() {
    let (cloud, s3) = cloud_with_bucket().await;
    put(&s3, "a", "body").await;
    for (access_key, secret_key, expected) in [
        ("unknown", "test", "InvalidAccessKeyId"),
        ("test", "wrong", "SignatureDoesNotMatch"),
    ] {
        let client = with_key(&cloud, access_key, secret_key);
        let refused = client.list_buckets().send().await.unwrap_err();
        assert_eq!(code(refused), expected);
    }
    let (status, body) = get(&cloud.endpoint, "/a-bucket/a").await;
    assert_eq!(status, 403);
    assert!(body.contains("<Code>AccessDenied</Code>"), "{body}");

    let now = SystemTime::now();
    assert_eq!(presigned(&cloud, now).await, (200, "body".to_owned()));
    for (start, expected) in [
        (
            now - Duration::from_secs(120),
            "<Message>Request has expired</Message>",
        ),
        (
            now + Duration::from_secs(20 * 60),
            "<Code>RequestTimeTooSkewed</Code>",
        ),
    ] {
        let (status, body) = presigned(&cloud, start).await;
        assert_eq!(status, 403);
        assert!(body.contains(expected), "{body}");
    }
}

#[tokio::test]
async fn without_authentication_checksums_are_still_verified() {
    let cloud = Cloud::for_everybody().await;
    let s3 = with_key(&cloud, "unknown", "wrong");
    create_bucket(&s3).await;
    // The SDK sends larger bodies in several chunks, with a trailing checksum.
    for size in [0, 4, 100_000, 3_000_000] {
        let bytes: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
        let put = put_request(&s3, "a", bytes.clone());
        let put = put.checksum_algorithm(ChecksumAlgorithm::Crc32C).send();
        assert!(put.await.unwrap().checksum_crc32_c().is_some());
        let got = s3.get_object().bucket(BUCKET).key("a").send().await;
        assert!(bytes_of(got.unwrap().body).await == bytes);
    }
    let wrong = put_request(&s3, "a", "body").checksum_crc32("AAAAAA==");
    assert_eq!(code(wrong.send().await.unwrap_err()), "BadDigest");
    put(&s3, "a", "body").await;
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
