//! S3: what survives a kill of the process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_s3::Client;
use tokio::task::JoinSet;

use super::{BUCKET, create_bucket, get, head, keys, put_request};
use crate::cloud::{eventually, s3, sdk, without_retries};
use crate::killed::{Started, start_over, start_with};

fn client_of(started: &Started) -> Client {
    s3(&without_retries(&sdk(&started.endpoint, "test")))
}

/// A body whose bytes identify its writer.
fn body(writer: u8, size: usize) -> Vec<u8> {
    vec![writer; size]
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_during_writes_leaves_whole_objects_and_loses_none() {
    let started = start_with("", &[]);
    create_bucket(&client_of(&started)).await;
    let (stored, count) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut writers = JoinSet::new();
    for writer in 0..8u8 {
        let (s3, stored, count) = (client_of(&started), Arc::clone(&stored), Arc::clone(&count));
        writers.spawn(async move {
            for round in 0.. {
                // Some objects are written at once, others in chunks; some overwrite others.
                let size = if round % 3 == 0 { 1_000_000 } else { 2_000 };
                let key = format!("{writer}/{}", round % 40);
                let put = put_request(&s3, &key, body(writer, size));
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
    let keys = keys(&s3).await;
    for key in stored.lock().unwrap().iter() {
        assert!(keys.contains(key), "{key} was lost");
    }
    for key in keys {
        let bytes = get(&s3, &key).await;
        let writer: u8 = key.split('/').next().unwrap().parse().unwrap();
        assert!([2_000, 1_000_000].contains(&bytes.len()), "{key}");
        assert!(bytes == body(writer, bytes.len()), "{key}");
    }
}

#[tokio::test]
async fn objects_tags_and_uploads_survive_the_process() {
    let started = start_with("", &[]);
    let s3 = client_of(&started);
    create_bucket(&s3).await;
    let put = put_request(&s3, "a", "body").metadata("by", "ada");
    let etag = put.tagging("k=v").send().await.unwrap().e_tag.unwrap();
    let upload = s3.create_multipart_upload().bucket(BUCKET).key("b");
    let upload = upload.send().await.unwrap().upload_id.unwrap();
    let part = s3.upload_part().bucket(BUCKET).key("b");
    let part = part.upload_id(&upload).part_number(1);
    part.body(b"part".to_vec().into()).send().await.unwrap();
    let data = started.kill();

    let started = start_over(data, "", &[]);
    let s3 = client_of(&started);
    let head = head(&s3, "a").await;
    assert_eq!(head.e_tag(), Some(&*etag));
    assert_eq!(head.metadata().unwrap()["by"], "ada");
    let tags = s3.get_object_tagging().bucket(BUCKET).key("a");
    assert_eq!(tags.send().await.unwrap().tag_set()[0].value(), "v");
    let parts = s3.list_parts().bucket(BUCKET).key("b").upload_id(&upload);
    assert_eq!(parts.send().await.unwrap().parts()[0].size(), Some(4));
    let overwrite = put_request(&s3, "a", "new").if_match(&etag);
    overwrite.send().await.unwrap();
}
