//! S3 as the AWS SDK sees it. This file has the helpers and the operations that Muster's services use.

mod auth;
mod buckets;
mod conditions;
mod events;
mod forms;
mod hosts;
mod killed;
mod multipart;
mod objects;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use tokio::task::JoinSet;

use crate::cloud::{Cloud, code, raw};

const BUCKET: &str = "a-bucket";

async fn cloud_with_bucket() -> (Cloud, Client) {
    let cloud = Cloud::start().await;
    let s3 = cloud.s3();
    create_bucket(&s3).await;
    (cloud, s3)
}

async fn create_bucket(s3: &Client) {
    s3.create_bucket().bucket(BUCKET).send().await.unwrap();
}

fn put_request(s3: &Client, key: &str, body: impl Into<Vec<u8>>) -> PutObjectFluentBuilder {
    let put = s3.put_object().bucket(BUCKET).key(key);
    put.body(ByteStream::from(body.into()))
}

/// Puts an object and returns its entity tag.
async fn put(s3: &Client, key: &str, body: impl Into<Vec<u8>>) -> String {
    let put = put_request(s3, key, body).send().await;
    put.unwrap().e_tag.unwrap()
}

async fn get(s3: &Client, key: &str) -> Vec<u8> {
    let object = s3.get_object().bucket(BUCKET).key(key).send().await;
    bytes_of(object.unwrap().body).await
}

async fn bytes_of(body: ByteStream) -> Vec<u8> {
    body.collect().await.unwrap().to_vec()
}

async fn head(s3: &Client, key: &str) -> HeadObjectOutput {
    let head = s3.head_object().bucket(BUCKET).key(key).send().await;
    head.unwrap()
}

async fn delete(s3: &Client, key: &str) {
    let delete = s3.delete_object().bucket(BUCKET).key(key);
    delete.send().await.unwrap();
}

async fn keys(s3: &Client) -> Vec<String> {
    let listed = s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    let keys = listed.contents().iter().filter_map(|object| object.key());
    keys.map(str::to_owned).collect()
}

#[tokio::test]
async fn objects_are_put_listed_and_deleted() {
    let (cloud, s3) = cloud_with_bucket().await;
    let unicode = "folder/ünï côdé+&=.txt";
    for (key, body) in [("photo.jpg", "bytes"), (unicode, unicode), ("empty", "")] {
        put(&s3, key, body).await;
        assert_eq!(get(&s3, key).await, body.as_bytes());
        assert_eq!(
            head(&s3, key).await.content_length(),
            Some(body.len() as i64)
        );
    }
    assert_eq!(keys(&s3).await, ["empty", unicode, "photo.jpg"]);
    delete(&s3, "empty").await;
    let identifiers =
        ["photo.jpg", "absent"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let objects = Delete::builder().set_objects(Some(identifiers.to_vec()));
    let delete = s3.delete_objects().bucket(BUCKET);
    let deleted = delete
        .delete(objects.build().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.deleted().len(), 2);
    assert_eq!(keys(&s3).await, [unicode]);
    cloud.stop().await;
}

#[tokio::test]
async fn one_of_many_conditional_creates_succeeds() {
    let (_cloud, s3) = cloud_with_bucket().await;
    for round in 0..5 {
        let key = format!("contested-{round}");
        let mut puts = JoinSet::new();
        for number in 0..20 {
            let body = number.to_string();
            let put = put_request(&s3, &key, body.clone()).metadata("by", &body);
            let put = put.if_none_match("*").send();
            puts.spawn(async move { put.await.map(|_| body).map_err(code) });
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            puts.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{won:?}");
        for error in lost {
            assert_eq!(error.unwrap_err(), "PreconditionFailed");
        }
        let winner = won[0].as_ref().unwrap();
        assert_eq!(get(&s3, &key).await, winner.as_bytes());
        assert_eq!(&head(&s3, &key).await.metadata().unwrap()["by"], winner);
    }
}

#[tokio::test]
async fn a_hundred_parallel_puts_are_stored() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let mut puts = JoinSet::new();
    for number in 0..100 {
        let s3 = s3.clone();
        puts.spawn(async move {
            let (key, body) = (format!("photo-{number:03}"), "x".repeat(2048 + number));
            let put = put_request(&s3, &key, body.clone()).if_none_match("*");
            put.send().await.unwrap();
            assert_eq!(get(&s3, &key).await, body.as_bytes());
        });
    }
    puts.join_all().await;
    assert_eq!(keys(&s3).await.len(), 100);
}

#[tokio::test]
async fn errors_are_the_exceptions_of_the_sdk() {
    let (cloud, s3) = cloud_with_bucket().await;
    let get = |bucket: &str| s3.get_object().bucket(bucket).key("absent").send();
    let error = get(BUCKET).await.unwrap_err().into_service_error();
    assert!(error.is_no_such_key(), "{error:?}");
    assert_eq!(code(get("absent").await.unwrap_err()), "NoSuchBucket");
    let head = s3.head_object().bucket(BUCKET).key("absent").send().await;
    let error = head.unwrap_err().into_service_error();
    assert!(error.is_not_found(), "{error:?}");
    let head = s3.head_bucket().bucket("absent").send().await;
    let error = head.unwrap_err().into_service_error();
    assert!(error.is_not_found(), "{error:?}");
    let put_absent = s3.put_object().bucket("absent").key("k").send().await;
    assert_eq!(code(put_absent.unwrap_err()), "NoSuchBucket");
    let outside = "PUT /a-bucket/../../x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(&cloud.endpoint, outside).await.0, 403);

    put(&s3, "a", "a").await;
    let delete_bucket = || s3.delete_bucket().bucket(BUCKET).send();
    assert_eq!(code(delete_bucket().await.unwrap_err()), "BucketNotEmpty");
    delete(&s3, "a").await;
    delete_bucket().await.unwrap();
    assert_eq!(s3.list_buckets().send().await.unwrap().buckets().len(), 0);
}
