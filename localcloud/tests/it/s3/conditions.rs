//! S3: conditional reads and writes.

use aws_sdk_s3::primitives::DateTime;
use tokio::task::JoinSet;

use super::{BUCKET, cloud_with_bucket, get, head, put, put_request};
use crate::cloud::code;

#[tokio::test]
async fn reads_check_their_conditions() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let etag = put(&s3, "a", "body").await;
    let then = head(&s3, "a").await.last_modified.unwrap();
    let before = DateTime::from_secs(then.secs() - 1);
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
        // The entity tag takes precedence over the time.
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
async fn writes_check_their_conditions() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let put_if = |condition: &str| put_request(&s3, "a", "2").if_match(condition);
    assert_eq!(code(put_if("\"x\"").send().await.unwrap_err()), "NoSuchKey");
    let first = put(&s3, "a", "1").await;
    let second = put_if(&first).send().await.unwrap().e_tag.unwrap();
    let put_unless = |condition: &str| put_request(&s3, "a", "3").if_none_match(condition);
    for (refused, expected) in [
        (put_if(&first), "PreconditionFailed"),
        (put_unless("*"), "PreconditionFailed"),
        (put_unless(&second), "NotImplemented"),
    ] {
        assert_eq!(code(refused.send().await.unwrap_err()), expected);
    }
    assert_eq!(get(&s3, "a").await, b"2");
    let delete_if = |condition: &str| {
        let delete = s3.delete_object().bucket(BUCKET).key("a");
        delete.if_match(condition).send()
    };
    let refused = delete_if(&first).await.unwrap_err();
    assert_eq!(code(refused), "PreconditionFailed");
    delete_if(&second).await.unwrap();
    assert_eq!(code(delete_if(&second).await.unwrap_err()), "NoSuchKey");
}

#[tokio::test]
async fn copies_check_the_conditions_of_their_destination() {
    let (_cloud, s3) = cloud_with_bucket().await;
    put(&s3, "source", "new").await;
    let first = put(&s3, "a", "1").await;
    let copy = || {
        let copy = s3.copy_object().bucket(BUCKET).key("a");
        copy.copy_source(format!("{BUCKET}/source"))
    };
    for refused in [copy().if_none_match("*"), copy().if_match("\"other\"")] {
        let refused = refused.send().await.unwrap_err();
        assert_eq!(code(refused), "PreconditionFailed");
    }
    assert_eq!(get(&s3, "a").await, b"1");
    copy().if_match(&first).send().await.unwrap();
    assert_eq!(get(&s3, "a").await, b"new");
}

#[tokio::test]
async fn one_of_many_conditional_overwrites_succeeds() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let mut etag = put(&s3, "lease", "free").await;
    for round in 0..10 {
        let mut puts = JoinSet::new();
        for holder in 0..16 {
            let body = format!("{holder} in round {round}");
            let put = put_request(&s3, "lease", body.clone()).if_match(&etag);
            puts.spawn(async move { put.send().await.map(|put| (put.e_tag.unwrap(), body)) });
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
