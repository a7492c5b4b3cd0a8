//! S3: buckets that the host of a request names.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::{Client, config};

use super::{cloud_with_bucket, get, keys};
use crate::cloud::{Cloud, raw};

#[tokio::test]
async fn a_host_may_name_the_bucket_instead_of_the_path() {
    let (cloud, s3) = cloud_with_bucket().await;
    let port = cloud.endpoint.rsplit(':').next().unwrap();
    assert_put_by_host(&cloud, &s3, &format!("localhost:{port}")).await;
}

#[tokio::test]
async fn a_host_of_aws_names_the_bucket_on_loopback() {
    let (cloud, s3) = cloud_with_bucket().await;
    assert_put_by_host(&cloud, &s3, "s3.us-east-1.amazonaws.com").await;
}

/// Puts an object with a body and without one to `a-bucket` before a host, and checks that nothing else is made.
async fn assert_put_by_host(cloud: &Cloud, s3: &Client, service: &str) {
    let config = config::Builder::from(&cloud.sdk())
        .endpoint_url(format!("http://{service}"))
        .build();
    let by_host = Client::from_conf(config);
    let host = format!("a-bucket.{service}");
    for body in ["by host", ""] {
        let config = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
        let put = by_host.put_object().bucket("a-bucket").key("folder/k");
        let url = put.presigned(config).await.unwrap();
        let path = url.uri().strip_prefix(&format!("http://{host}")).unwrap();
        let length = body.len();
        let sent = format!(
            "PUT {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (status, reply) = raw(&cloud.endpoint, &sent).await;
        assert_eq!(status, 200, "{reply}");
        assert_eq!(get(s3, "folder/k").await, body.as_bytes());
    }
    assert_eq!(keys(s3).await, ["folder/k"]);
    assert_eq!(s3.list_buckets().send().await.unwrap().buckets().len(), 1);
}
