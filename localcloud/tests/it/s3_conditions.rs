//! S3: conditions of reads and writes.

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use tokio::task::JoinSet;

use crate::cloud::code;
use crate::s3_objects::{BUCKET, cloud_with_bucket, get, put};

#[tokio::test]
async fn readers_conditions_hold() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let etag = put(&s3, "a", "body").await;
    let head = s3
        .head_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    let modified = head.last_modified().unwrap().secs();
    let (then, before) = (
        DateTime::from_secs(modified),
        DateTime::from_secs(modified - 1),
    );
    let get = || s3.get_object().bucket(BUCKET).key("a");
    for (request, expected) in [
        (get().if_match(&etag), 200),
        (get().if_match("*"), 200),
        (get().if_match("\"other\""), 412),
        (get().if_none_match(&etag), 304),
        (get().if_none_match("\"other\""), 200),
        (get().if_modified_since(then), 304),
        (get().if_modified_since(before), 200),
        (get().if_unmodified_since(then), 200),
        (get().if_unmodified_since(before), 412),
        // The tag goes before the time.
        (get().if_match(&etag).if_unmodified_since(before), 200),
        (
            get().if_none_match("\"other\"").if_modified_since(then),
            200,
        ),
    ] {
        let status = match request.clone().send().await {
            Ok(_) => 200,
            Err(error) => error.raw_response().unwrap().status().as_u16(),
        };
        assert_eq!(status, expected, "{request:?}");
    }
}

#[tokio::test]
async fn writers_conditions_hold() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let put_if = |condition: &str| s3.put_object().bucket(BUCKET).key("a").if_match(condition);
    assert_eq!(code(put_if("\"x\"").send().await.unwrap_err()), "NoSuchKey");
    let first = put(&s3, "a", "1").await;
    let second = put_if(&first).body(ByteStream::from_static(b"2"));
    let second = second.send().await.unwrap().e_tag.unwrap();
    assert_eq!(
        code(put_if(&first).send().await.unwrap_err()),
        "PreconditionFailed"
    );
    let create = s3.put_object().bucket(BUCKET).key("a").if_none_match("*");
    assert_eq!(code(create.send().await.unwrap_err()), "PreconditionFailed");
    let other = s3
        .put_object()
        .bucket(BUCKET)
        .key("a")
        .if_none_match(&second);
    assert_eq!(code(other.send().await.unwrap_err()), "NotImplemented");
    assert_eq!(get(&s3, "a").await, b"2");
    let delete_if = |condition: &str| {
        s3.delete_object()
            .bucket(BUCKET)
            .key("a")
            .if_match(condition)
    };
    assert_eq!(
        code(delete_if(&first).send().await.unwrap_err()),
        "PreconditionFailed"
    );
    delete_if(&second).send().await.unwrap();
    assert_eq!(
        code(delete_if(&second).send().await.unwrap_err()),
        "NoSuchKey"
    );
}

#[tokio::test]
async fn of_many_puts_that_replace_the_same_version_one_succeeds() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let mut etag = put(&s3, "lease", "nobody").await;
    for round in 0..10 {
        let mut puts = JoinSet::new();
        for holder in 0..16 {
            let request = s3.put_object().bucket(BUCKET).key("lease").if_match(&etag);
            let body = format!("{holder} in round {round}");
            puts.spawn(async move {
                let sent = request.body(ByteStream::from(body.clone().into_bytes()));
                sent.send().await.map(|put| (put.e_tag.unwrap(), body))
            });
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            puts.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{won:?}");
        for error in lost {
            assert_eq!(code(error.unwrap_err()), "PreconditionFailed");
        }
        let (next, body) = won.into_iter().next().unwrap().unwrap();
        assert_eq!(get(&s3, "lease").await, body.as_bytes());
        etag = next;
    }
}
