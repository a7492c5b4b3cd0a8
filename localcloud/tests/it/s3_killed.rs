//! S3: what outlives the process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use tokio::task::JoinSet;

use crate::cloud::{eventually, sdk};
use crate::killed::{Started, start_over, start_with};

const BUCKET: &str = "a-bucket";

fn client_of(started: &Started) -> Client {
    let config = aws_sdk_s3::config::Builder::from(&sdk(&started.endpoint, "test"))
        .retry_config(RetryConfig::disabled())
        .force_path_style(true);
    Client::from_conf(config.build())
}

/// Every byte of an object's body tells which one it is.
fn body(writer: u8, size: usize) -> Vec<u8> {
    vec![writer; size]
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_in_the_middle_of_writes_leaves_whole_objects_and_loses_none() {
    let started = start_with("", &[]);
    client_of(&started)
        .create_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let (stored, count) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut writers = JoinSet::new();
    for writer in 0..8u8 {
        let (s3, stored, count) = (client_of(&started), Arc::clone(&stored), Arc::clone(&count));
        writers.spawn(async move {
            for turn in 0.. {
                // Some are written at once, others piece by piece, and some over others.
                let size = if turn % 3 == 0 { 1_000_000 } else { 2_000 };
                let key = format!("{writer}/{}", turn % 40);
                let put = s3.put_object().bucket(BUCKET).key(&key);
                let put = put.body(ByteStream::from(body(writer, size)));
                if put.send().await.is_err() {
                    return;
                }
                stored.lock().unwrap().push(key);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    eventually("some objects are stored", || async {
        (count.load(Ordering::Relaxed) > 100).then_some(())
    })
    .await;
    let data = started.kill();
    writers.join_all().await;

    let started = start_over(data, "", &[]);
    let s3 = client_of(&started);
    let listed = s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    let keys: Vec<_> = listed
        .contents()
        .iter()
        .map(|one| one.key().unwrap())
        .collect();
    for key in stored.lock().unwrap().iter() {
        assert!(keys.contains(&key.as_str()), "{key} was lost");
    }
    for object in listed.contents() {
        let key = object.key().unwrap();
        let got = s3
            .get_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
        let bytes = got.body.collect().await.unwrap().to_vec();
        let writer: u8 = key.split('/').next().unwrap().parse().unwrap();
        assert!([2_000, 1_000_000].contains(&bytes.len()), "{key}");
        assert!(bytes == body(writer, bytes.len()), "{key}");
    }
}

#[tokio::test]
async fn buckets_with_all_that_is_known_of_them_outlive_the_process() {
    let started = start_with("", &[]);
    let s3 = client_of(&started);
    s3.create_bucket().bucket(BUCKET).send().await.unwrap();
    let put = s3
        .put_object()
        .bucket(BUCKET)
        .key("a")
        .metadata("by", "ada");
    let put = put.tagging("k=v").body(ByteStream::from_static(b"body"));
    let etag = put.send().await.unwrap().e_tag.unwrap();
    let upload = s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("b")
        .send()
        .await;
    let upload = upload.unwrap().upload_id.unwrap();
    let part = s3
        .upload_part()
        .bucket(BUCKET)
        .key("b")
        .upload_id(&upload)
        .part_number(1);
    part.body(ByteStream::from_static(b"part"))
        .send()
        .await
        .unwrap();
    let data = started.kill();

    let started = start_over(data, "", &[]);
    let s3 = client_of(&started);
    let head = s3
        .head_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    assert_eq!(head.e_tag(), Some(&*etag));
    assert_eq!(head.metadata().unwrap()["by"], "ada");
    let tags = s3
        .get_object_tagging()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    assert_eq!(tags.tag_set()[0].value(), "v");
    let parts = s3
        .list_parts()
        .bucket(BUCKET)
        .key("b")
        .upload_id(&upload)
        .send()
        .await;
    assert_eq!(parts.unwrap().parts()[0].size(), Some(4));
    let over = s3.put_object().bucket(BUCKET).key("a").if_match(&etag);
    over.send().await.unwrap();
}
