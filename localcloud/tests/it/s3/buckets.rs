//! S3: buckets and lists of objects.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, Delete,
    EncodingType, ObjectIdentifier, VersioningConfiguration,
};

use super::{BUCKET, cloud_with_bucket, create_bucket, put};
use crate::cloud::{Cloud, code, get};

async fn cloud_with_keys(keys: &[&str]) -> (Cloud, Client) {
    let (cloud, s3) = cloud_with_bucket().await;
    for key in keys {
        put(&s3, key, "x").await;
    }
    (cloud, s3)
}

/// The keys of a list.
macro_rules! keys {
    ($list:expr) => {
        $list
            .contents()
            .iter()
            .map(|one| one.key().unwrap())
            .collect::<Vec<_>>()
    };
}

fn in_region(cloud: &Cloud, region: &'static str) -> Client {
    let config = aws_sdk_s3::config::Builder::from(&cloud.sdk())
        .region(Region::new(region))
        .force_path_style(true);
    Client::from_conf(config.build())
}

#[tokio::test]
async fn a_bucket_has_the_requested_region() {
    let cloud = Cloud::start().await;
    let (here, ireland) = (cloud.s3(), in_region(&cloud, "eu-west-1"));
    let located = |region: &str| {
        CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(region))
            .build()
    };
    here.create_bucket().bucket("here").send().await.unwrap();
    // In us-east-1 alone, creating a bucket again succeeds.
    here.create_bucket().bucket("here").send().await.unwrap();
    let create = || ireland.create_bucket().bucket("there");
    let elsewhere = create().create_bucket_configuration(located("us-west-2"));
    for refused in [create(), elsewhere] {
        let refused = code(refused.send().await.unwrap_err());
        assert_eq!(refused, "IllegalLocationConstraintException");
    }
    let there = || create().create_bucket_configuration(located("eu-west-1"));
    there().send().await.unwrap();
    let error = there().send().await.unwrap_err().into_service_error();
    assert!(error.is_bucket_already_owned_by_you(), "{error:?}");
    let default = here.create_bucket().bucket("other");
    let default = default.create_bucket_configuration(located("us-east-1"));
    let refused = code(default.send().await.unwrap_err());
    assert_eq!(refused, "InvalidLocationConstraint");

    for (bucket, expected) in [("here", ""), ("there", "eu-west-1")] {
        let location = here.get_bucket_location().bucket(bucket).send().await;
        let location = location.unwrap().location_constraint;
        let location = location.as_ref().map_or("", |one| one.as_str());
        assert_eq!(location, expected);
    }
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
    let head = here.head_bucket().bucket("here");
    let other_owner = head.expected_bucket_owner("111111111111").send().await;
    let refused = other_owner.unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn keys_are_listed_in_byte_order_and_rolled_up() {
    let created = ["b", "a/2", "a/1", "é", "z", "a", "a-", "a/b/3", "B"];
    let (_cloud, s3) = cloud_with_keys(&created).await;
    let list = || s3.list_objects_v2().bucket(BUCKET);
    let listed = list().send().await.unwrap();
    assert_eq!(
        keys!(listed),
        ["B", "a", "a-", "a/1", "a/2", "a/b/3", "b", "z", "é"]
    );
    assert_eq!(listed.key_count(), Some(9));
    let rolled = list().delimiter("/").send().await.unwrap();
    assert_eq!(keys!(rolled), ["B", "a", "a-", "b", "z", "é"]);
    assert_eq!(rolled.common_prefixes()[0].prefix(), Some("a/"));
    let within = list().delimiter("/").prefix("a/").send().await.unwrap();
    assert_eq!(keys!(within), ["a/1", "a/2"]);
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
    for invalid in [list().max_keys(-1), list().continuation_token("?")] {
        assert_eq!(code(invalid.send().await.unwrap_err()), "InvalidArgument");
    }
    let encoded = list().prefix("é").encoding_type(EncodingType::Url);
    assert_eq!(keys!(encoded.send().await.unwrap()), ["%C3%A9"]);

    let old = s3.list_objects().bucket(BUCKET).delimiter("/").max_keys(4);
    let old = old.send().await.unwrap();
    assert_eq!(old.next_marker(), Some("a/"));
    let rest = s3.list_objects().bucket(BUCKET).delimiter("/").marker("a/");
    let rest = rest.send().await.unwrap();
    assert_eq!(rest.contents()[0].key(), Some("b"));
    let versions = s3.list_object_versions().bucket(BUCKET).send().await;
    let versions = versions.unwrap();
    assert_eq!(versions.versions().len(), 9);
    assert_eq!(versions.versions()[0].version_id(), Some("null"));
}

#[tokio::test]
async fn a_batch_delete_checks_each_object() {
    let (_cloud, s3) = cloud_with_keys(&["a", "b", "c"]).await;
    let which = |key: &str| ObjectIdentifier::builder().key(key);
    let delete = |which: Vec<ObjectIdentifier>, quiet| {
        let delete = Delete::builder().set_objects(Some(which)).quiet(quiet);
        let delete = delete.build().unwrap();
        s3.delete_objects().bucket(BUCKET).delete(delete).send()
    };
    let present = which("a").build().unwrap();
    let other = which("b").e_tag("\"other\"").build().unwrap();
    let version = which("c").version_id("1").build().unwrap();
    let deleted = delete(vec![present, other, version], true).await.unwrap();
    assert!(deleted.deleted().is_empty());
    let codes = deleted.errors().iter().map(|one| one.code().unwrap());
    assert_eq!(
        codes.collect::<Vec<_>>(),
        ["PreconditionFailed", "InvalidArgument"]
    );
    let left = s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert_eq!(left.key_count(), Some(2));
    let many = (0..1001).map(|number| which(&format!("{number}")).build().unwrap());
    let refused = delete(many.collect(), false).await.unwrap_err();
    assert_eq!(code(refused), "MalformedXML");
}

#[tokio::test]
async fn unsupported_bucket_features_are_absent() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let versioning = s3.get_bucket_versioning().bucket(BUCKET).send().await;
    assert_eq!(versioning.unwrap().status(), None);
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled);
    let put = s3.put_bucket_versioning().bucket(BUCKET);
    let put = put.versioning_configuration(enabled.build()).send().await;
    assert_eq!(code(put.unwrap_err()), "NotImplemented");
    let acl = s3.get_bucket_acl().bucket(BUCKET).send().await.unwrap();
    assert_eq!(acl.grants().len(), 1);
    let policy = s3.get_bucket_policy().bucket(BUCKET).send().await;
    assert_eq!(code(policy.unwrap_err()), "NoSuchBucketPolicy");
    let cors = s3.get_bucket_cors().bucket(BUCKET).send().await;
    assert_eq!(code(cors.unwrap_err()), "NoSuchCORSConfiguration");
    let lifecycle = s3.get_bucket_lifecycle_configuration().bucket(BUCKET);
    let lifecycle = lifecycle.send().await.unwrap_err();
    assert_eq!(code(lifecycle), "NoSuchLifecycleConfiguration");
}

#[tokio::test]
async fn error_documents_have_the_elements_of_aws() {
    let cloud = Cloud::for_everybody().await;
    create_bucket(&cloud.s3()).await;
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
