//! S3: buckets, and the lists of what is in them.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, Delete,
    EncodingType, ObjectIdentifier, VersioningConfiguration,
};

use crate::cloud::{Cloud, code, get};

const BUCKET: &str = "a-bucket";

async fn with_keys(s3: &Client, keys: &[&str]) {
    s3.create_bucket().bucket(BUCKET).send().await.unwrap();
    for key in keys {
        let put = s3.put_object().bucket(BUCKET).key(*key);
        put.body(ByteStream::from_static(b"x"))
            .send()
            .await
            .unwrap();
    }
}

fn in_region(cloud: &Cloud, region: &'static str) -> Client {
    let config = aws_sdk_s3::config::Builder::from(&cloud.sdk())
        .region(Region::new(region))
        .force_path_style(true);
    Client::from_conf(config.build())
}

#[tokio::test]
async fn a_bucket_is_where_it_was_asked_for() {
    let cloud = Cloud::start().await;
    let (here, ireland) = (cloud.s3(), in_region(&cloud, "eu-west-1"));
    let located = |region: &str| {
        CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(region))
            .build()
    };
    here.create_bucket().bucket("here").send().await.unwrap();
    // In us-east-1 alone, this is no error.
    here.create_bucket().bucket("here").send().await.unwrap();
    let create = || ireland.create_bucket().bucket("there");
    assert_eq!(
        code(create().send().await.unwrap_err()),
        "IllegalLocationConstraintException"
    );
    let elsewhere = create().create_bucket_configuration(located("us-west-2"));
    assert_eq!(
        code(elsewhere.send().await.unwrap_err()),
        "IllegalLocationConstraintException"
    );
    let there = || create().create_bucket_configuration(located("eu-west-1"));
    there().send().await.unwrap();
    let error = there().send().await.unwrap_err().into_service_error();
    assert!(error.is_bucket_already_owned_by_you(), "{error:?}");
    let senseless = here.create_bucket().bucket("other");
    let senseless = senseless.create_bucket_configuration(located("us-east-1"));
    assert_eq!(
        code(senseless.send().await.unwrap_err()),
        "InvalidLocationConstraint"
    );

    let location = here
        .get_bucket_location()
        .bucket("here")
        .send()
        .await
        .unwrap();
    assert!(
        location
            .location_constraint()
            .is_none_or(|one| one.as_str().is_empty())
    );
    let location = here
        .get_bucket_location()
        .bucket("there")
        .send()
        .await
        .unwrap();
    assert_eq!(
        location.location_constraint().unwrap().as_str(),
        "eu-west-1"
    );
    let head = here.head_bucket().bucket("there").send().await.unwrap();
    assert_eq!(head.bucket_region(), Some("eu-west-1"));

    let page = here.list_buckets().max_buckets(1).send().await.unwrap();
    assert_eq!(page.buckets()[0].name(), Some("here"));
    let rest = here
        .list_buckets()
        .continuation_token(page.continuation_token().unwrap());
    assert_eq!(
        rest.send().await.unwrap().buckets()[0].name(),
        Some("there")
    );
    let named = here.list_buckets().prefix("th").send().await.unwrap();
    assert_eq!(named.buckets().len(), 1);
    let invalid = here.create_bucket().bucket("Not_A_Bucket").send().await;
    assert_eq!(code(invalid.unwrap_err()), "InvalidBucketName");
    let stranger = here
        .head_bucket()
        .bucket("here")
        .expected_bucket_owner("111111111111");
    let stranger = stranger.send().await.unwrap_err();
    assert_eq!(stranger.raw_response().unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn keys_are_listed_by_their_bytes_and_rolled_up() {
    let cloud = Cloud::start().await;
    let s3 = cloud.s3();
    with_keys(&s3, &["b", "a/2", "a/1", "é", "z", "a", "a-", "a/b/3", "B"]).await;
    let list = || s3.list_objects_v2().bucket(BUCKET);
    let listed = list().send().await.unwrap();
    let keys: Vec<_> = listed
        .contents()
        .iter()
        .map(|one| one.key().unwrap())
        .collect();
    assert_eq!(keys, ["B", "a", "a-", "a/1", "a/2", "a/b/3", "b", "z", "é"]);
    assert_eq!(listed.key_count(), Some(9));
    let rolled = list().delimiter("/").send().await.unwrap();
    let keys: Vec<_> = rolled
        .contents()
        .iter()
        .map(|one| one.key().unwrap())
        .collect();
    assert_eq!(keys, ["B", "a", "a-", "b", "z", "é"]);
    assert_eq!(rolled.common_prefixes()[0].prefix(), Some("a/"));
    let within = list().delimiter("/").prefix("a/").send().await.unwrap();
    let keys: Vec<_> = within
        .contents()
        .iter()
        .map(|one| one.key().unwrap())
        .collect();
    assert_eq!(keys, ["a/1", "a/2"]);
    assert_eq!(within.common_prefixes()[0].prefix(), Some("a/b/"));

    for delimiter in [None, Some("/")] {
        let mut names = Vec::new();
        let mut token = None;
        loop {
            let page = list()
                .max_keys(1)
                .set_delimiter(delimiter.map(str::to_owned));
            let page = page.set_continuation_token(token).send().await.unwrap();
            assert_eq!(page.key_count(), Some(1));
            let prefixes = page.common_prefixes().iter().filter_map(|one| one.prefix());
            let keys = page.contents().iter().filter_map(|one| one.key());
            names.extend(prefixes.chain(keys).map(str::to_owned));
            token = page.next_continuation_token().map(str::to_owned);
            if page.is_truncated() == Some(false) {
                break;
            }
        }
        let expected: &[&str] = match delimiter {
            None => &["B", "a", "a-", "a/1", "a/2", "a/b/3", "b", "z", "é"],
            Some(_) => &["B", "a", "a-", "a/", "b", "z", "é"],
        };
        assert_eq!(names, expected);
    }
    let after = list().start_after("a/2").send().await.unwrap();
    assert_eq!(after.contents()[0].key(), Some("a/b/3"));
    assert_eq!(after.contents()[0].owner(), None);
    let owned = list().fetch_owner(true).send().await.unwrap();
    assert!(owned.contents()[0].owner().unwrap().id().is_some());
    let none = list().max_keys(0).send().await.unwrap();
    assert_eq!(
        (none.key_count(), none.is_truncated()),
        (Some(0), Some(false))
    );
    assert_eq!(
        code(list().max_keys(-1).send().await.unwrap_err()),
        "InvalidArgument"
    );
    let token = list().continuation_token("?").send().await;
    assert_eq!(code(token.unwrap_err()), "InvalidArgument");
    let encoded = list()
        .prefix("é")
        .encoding_type(EncodingType::Url)
        .send()
        .await
        .unwrap();
    assert_eq!(encoded.contents()[0].key(), Some("%C3%A9"));

    let old = s3.list_objects().bucket(BUCKET).delimiter("/").max_keys(4);
    let old = old.send().await.unwrap();
    assert_eq!(old.next_marker(), Some("a/"));
    let rest = s3.list_objects().bucket(BUCKET).delimiter("/").marker("a/");
    let rest = rest.send().await.unwrap();
    assert_eq!(rest.contents()[0].key(), Some("b"));
    let versions = s3
        .list_object_versions()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(versions.versions().len(), 9);
    assert_eq!(versions.versions()[0].version_id(), Some("null"));
}

#[tokio::test]
async fn many_are_deleted_at_once_and_only_what_was_meant() {
    let cloud = Cloud::start().await;
    let s3 = cloud.s3();
    with_keys(&s3, &["a", "b", "c"]).await;
    let which = |key: &str| ObjectIdentifier::builder().key(key);
    let delete = |which: Vec<ObjectIdentifier>, quiet| {
        let delete = Delete::builder().set_objects(Some(which)).quiet(quiet);
        let delete = delete.build().unwrap();
        s3.delete_objects().bucket(BUCKET).delete(delete).send()
    };
    let meant = which("a").build().unwrap();
    let other = which("b").e_tag("\"other\"").build().unwrap();
    let version = which("c").version_id("1").build().unwrap();
    let deleted = delete(vec![meant, other, version], true).await.unwrap();
    assert!(deleted.deleted().is_empty());
    let codes: Vec<_> = deleted
        .errors()
        .iter()
        .map(|one| one.code().unwrap())
        .collect();
    assert_eq!(codes, ["PreconditionFailed", "InvalidArgument"]);
    let left = s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert_eq!(left.key_count(), Some(2));
    let many = (0..1001).map(|number| which(&format!("{number}")).build().unwrap());
    assert_eq!(
        code(delete(many.collect(), false).await.unwrap_err()),
        "MalformedXML"
    );
}

#[tokio::test]
async fn a_bucket_lacks_what_it_cannot_have() {
    let cloud = Cloud::start().await;
    let s3 = cloud.s3();
    with_keys(&s3, &[]).await;
    let versioning = s3
        .get_bucket_versioning()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(versioning.status(), None);
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled);
    let put = s3.put_bucket_versioning().bucket(BUCKET);
    let put = put.versioning_configuration(enabled.build()).send().await;
    assert_eq!(code(put.unwrap_err()), "NotImplemented");
    let acl = s3.get_bucket_acl().bucket(BUCKET).send().await.unwrap();
    assert_eq!(acl.grants().len(), 1);
    assert_eq!(
        code(
            s3.get_bucket_policy()
                .bucket(BUCKET)
                .send()
                .await
                .unwrap_err()
        ),
        "NoSuchBucketPolicy"
    );
    assert_eq!(
        code(
            s3.get_bucket_cors()
                .bucket(BUCKET)
                .send()
                .await
                .unwrap_err()
        ),
        "NoSuchCORSConfiguration"
    );
    let lifecycle = s3
        .get_bucket_lifecycle_configuration()
        .bucket(BUCKET)
        .send()
        .await;
    assert_eq!(code(lifecycle.unwrap_err()), "NoSuchLifecycleConfiguration");
}

#[tokio::test]
async fn an_error_says_what_aws_says() {
    let cloud = Cloud::for_everybody().await;
    with_keys(&cloud.s3(), &[]).await;
    let (status, body) = get(&cloud.endpoint, "/a-bucket/absent%20key").await;
    assert_eq!(status, 404);
    for part in [
        "<Code>NoSuchKey</Code>",
        "<Message>The specified key does not exist.</Message>",
        "<Key>absent key</Key>",
        "<Resource>/a-bucket/absent key</Resource>",
        "<RequestId>",
        "<HostId>",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let (status, body) = get(&cloud.endpoint, "/absent-bucket").await;
    assert_eq!(status, 404);
    assert!(
        body.contains("<BucketName>absent-bucket</BucketName>"),
        "{body}"
    );
}
