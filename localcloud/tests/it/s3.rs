//! S3: what the services use.

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use std::time::Duration;
use tokio::task::JoinSet;

use crate::cloud::{self, Cloud, code, get};

async fn bucket(s3: &Client) -> &'static str {
    s3.create_bucket()
        .bucket("muster-in-bucket")
        .send()
        .await
        .unwrap();
    "muster-in-bucket"
}

fn put(
    s3: &Client,
    key: &str,
    body: &str,
) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
    s3.put_object()
        .bucket("muster-in-bucket")
        .key(key)
        .body(ByteStream::from(body.as_bytes().to_vec()))
}

async fn body_of(s3: &Client, key: &str) -> String {
    let object = s3
        .get_object()
        .bucket("muster-in-bucket")
        .key(key)
        .send()
        .await
        .unwrap();
    String::from_utf8(object.body.collect().await.unwrap().to_vec()).unwrap()
}

async fn keys(s3: &Client) -> Vec<String> {
    let listed = s3
        .list_objects_v2()
        .bucket("muster-in-bucket")
        .send()
        .await
        .unwrap();
    listed
        .contents()
        .iter()
        .map(|object| object.key().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn objects_are_put_read_listed_and_deleted() {
    let cloud = Cloud::start().await;
    let s3 = cloud.s3();
    let bucket = bucket(&s3).await;
    put(&s3, "test_00.jpg", "bytes")
        .metadata("name", "ada")
        .content_type("image/jpeg")
        .send()
        .await
        .unwrap();
    for key in ["folder/ünï côdé+&=.txt", "empty", "z"] {
        put(&s3, key, if key == "empty" { "" } else { key })
            .send()
            .await
            .unwrap();
    }
    let object = s3
        .get_object()
        .bucket(bucket)
        .key("test_00.jpg")
        .send()
        .await
        .unwrap();
    assert_eq!(object.metadata().unwrap()["name"], "ada");
    assert_eq!(object.content_type(), Some("image/jpeg"));
    assert_eq!(object.body.collect().await.unwrap().to_vec(), b"bytes");
    assert_eq!(
        body_of(&s3, "folder/ünï côdé+&=.txt").await,
        "folder/ünï côdé+&=.txt"
    );
    assert_eq!(body_of(&s3, "empty").await, "");
    let head = s3
        .head_object()
        .bucket(bucket)
        .key("test_00.jpg")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_length(), Some(5));
    assert_eq!(
        keys(&s3).await,
        ["empty", "folder/ünï côdé+&=.txt", "test_00.jpg", "z"]
    );
    let page = s3
        .list_objects_v2()
        .bucket(bucket)
        .max_keys(3)
        .send()
        .await
        .unwrap();
    assert_eq!(page.is_truncated(), Some(true));
    let rest = s3
        .list_objects_v2()
        .bucket(bucket)
        .set_continuation_token(page.next_continuation_token);
    assert_eq!(rest.send().await.unwrap().contents()[0].key(), Some("z"));

    s3.delete_object()
        .bucket(bucket)
        .key("z")
        .send()
        .await
        .unwrap();
    let identifiers =
        ["test_00.jpg", "absent"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder()
        .set_objects(Some(identifiers.to_vec()))
        .build()
        .unwrap();
    let deleted = s3
        .delete_objects()
        .bucket(bucket)
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.deleted().len(), 2);
    assert_eq!(keys(&s3).await, ["empty", "folder/ünï côdé+&=.txt"]);
    cloud.stop().await;
}

#[tokio::test]
async fn of_many_conditional_puts_exactly_one_succeeds() {
    let cloud = Cloud::start().await;
    let s3 = cloud.s3();
    bucket(&s3).await;
    for round in 0..5 {
        let key = format!("contested-{round}");
        let mut puts = JoinSet::new();
        for number in 0..20 {
            let (s3, key) = (s3.clone(), key.clone());
            puts.spawn(async move {
                let body = format!("{number}");
                put(&s3, &key, &body)
                    .metadata("by", &body)
                    .if_none_match("*")
                    .send()
                    .await
                    .map(|_| body)
                    .map_err(code)
            });
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            puts.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{won:?}");
        assert!(
            lost.iter()
                .all(|result| result.as_ref().unwrap_err() == "PreconditionFailed"),
            "{lost:?}"
        );
        let winner = won[0].as_ref().unwrap();
        assert_eq!(&body_of(&s3, &key).await, winner);
        let head = s3
            .head_object()
            .bucket("muster-in-bucket")
            .key(&key)
            .send()
            .await
            .unwrap();
        assert_eq!(&head.metadata().unwrap()["by"], winner);
    }
}

#[tokio::test]
async fn a_hundred_parallel_puts_all_arrive() {
    let cloud = Cloud::start().await;
    let s3 = cloud.s3();
    bucket(&s3).await;
    let mut puts = JoinSet::new();
    for number in 0..100 {
        let s3 = s3.clone();
        puts.spawn(async move {
            let (key, body) = (format!("photo-{number:03}"), "x".repeat(2048 + number));
            put(&s3, &key, &body)
                .if_none_match("*")
                .send()
                .await
                .unwrap();
            assert_eq!(body_of(&s3, &key).await, body);
        });
    }
    puts.join_all().await;
    assert_eq!(keys(&s3).await.len(), 100);
}

#[tokio::test]
async fn errors_are_the_exceptions_of_the_sdk() {
    let cloud = Cloud::start().await;
    let s3 = cloud.s3();
    let bucket = bucket(&s3).await;
    let error = s3
        .get_object()
        .bucket(bucket)
        .key("absent")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_no_such_key(), "{error:?}");
    let error = s3
        .head_object()
        .bucket(bucket)
        .key("absent")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_not_found(), "{error:?}");
    let error = s3
        .head_bucket()
        .bucket("absent")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_not_found(), "{error:?}");
    let error = s3
        .put_object()
        .bucket("absent")
        .key("k")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(error), "NoSuchBucket", "a put creates no bucket");
    assert_eq!(
        code(
            s3.get_object()
                .bucket("absent")
                .key("k")
                .send()
                .await
                .unwrap_err()
        ),
        "NoSuchBucket"
    );
    assert_eq!(
        code(put(&s3, &"k".repeat(1025), "a").send().await.unwrap_err()),
        "KeyTooLongError"
    );
    let raw = cloud::raw(
        &cloud.endpoint,
        "PUT /muster-in-bucket/../../x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(raw.await.0, 403, "no way around the signature");

    put(&s3, "a", "a").send().await.unwrap();
    assert_eq!(
        code(s3.delete_bucket().bucket(bucket).send().await.unwrap_err()),
        "BucketNotEmpty"
    );
    s3.delete_object()
        .bucket(bucket)
        .key("a")
        .send()
        .await
        .unwrap();
    s3.delete_bucket().bucket(bucket).send().await.unwrap();
    assert_eq!(s3.list_buckets().send().await.unwrap().buckets().len(), 0);
}

#[tokio::test]
async fn a_wrong_secret_and_no_signature_are_refused() {
    let cloud = Cloud::start().await;
    let stranger = cloud::s3(&cloud::sdk(&cloud.endpoint, "wrong"));
    assert_eq!(
        code(
            stranger
                .create_bucket()
                .bucket("bucket")
                .send()
                .await
                .unwrap_err()
        ),
        "SignatureDoesNotMatch"
    );
    bucket(&cloud.s3()).await;
    assert_eq!(get(&cloud.endpoint, "/muster-in-bucket/key").await.0, 403);
}

#[tokio::test]
async fn presigned_urls_work() {
    let cloud = Cloud::start().await;
    let s3 = cloud.s3();
    bucket(&s3).await;
    put(&s3, "a", "shared").send().await.unwrap();
    let expires = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let url = s3
        .get_object()
        .bucket("muster-in-bucket")
        .key("a")
        .presigned(expires)
        .await
        .unwrap();
    let path = url.uri().strip_prefix(&cloud.endpoint).unwrap();
    let address = cloud.endpoint.trim_start_matches("http://");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    assert_eq!(
        cloud::raw(&cloud.endpoint, &request).await,
        (200, "shared".to_owned())
    );
}
