//! S3: objects, their metadata, checksums and tags.

use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, MetadataDirective, ObjectAttributes,
    StorageClass, Tag, Tagging, TaggingDirective,
};

use super::{BUCKET, bytes_of, cloud_with_bucket, delete, get, head, put, put_request};
use crate::cloud::code;

#[tokio::test]
async fn keys_have_up_to_1024_arbitrary_bytes() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let keys = [
        "k".repeat(1024),
        "ü".repeat(512),
        "..".to_owned(),
        "a/../../b".to_owned(),
        "./a".to_owned(),
        "a//b".to_owned(),
        "/a".to_owned(),
        "folder/".to_owned(),
        "a b+c%20&=?#~'\"<>".to_owned(),
        "tab\tand\u{1}control".to_owned(),
        "\u{10FFFF}".to_owned(),
    ];
    for key in &keys {
        put(&s3, key, key.as_bytes()).await;
    }
    for key in &keys {
        assert_eq!(get(&s3, key).await, key.as_bytes(), "{key:?}");
        let copied = s3
            .copy_object()
            .bucket(BUCKET)
            .key("copy")
            .copy_source(format!("{BUCKET}/{}", percent(key)))
            .send()
            .await;
        copied.unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
        assert_eq!(get(&s3, "copy").await, key.as_bytes(), "{key:?}");
        delete(&s3, key).await;
        let gone = s3.head_object().bucket(BUCKET).key(key).send().await;
        assert!(gone.unwrap_err().into_service_error().is_not_found());
    }
    let refused = s3.put_object().bucket(BUCKET).key("k".repeat(1025));
    assert_eq!(code(refused.send().await.unwrap_err()), "KeyTooLongError");
}

fn percent(key: &str) -> String {
    key.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn metadata_is_stored_and_can_be_overridden() {
    let (_cloud, s3) = cloud_with_bucket().await;
    put_request(&s3, "a", "0123456789")
        .content_type("image/png")
        .cache_control("no-cache")
        .content_disposition("inline")
        .content_encoding("gzip")
        .content_language("de")
        .expires(DateTime::from_secs(2_000_000_000))
        .website_redirect_location("/b")
        .storage_class(StorageClass::StandardIa)
        .metadata("name", "ada löve")
        .metadata("plain", "ada")
        .tagging("k=v&l=w%20x")
        .send()
        .await
        .unwrap();
    let request = s3.get_object().bucket(BUCKET).key("a");
    let got = request.clone().send().await.unwrap();
    assert!(got.request_id().is_some());
    let head = head(&s3, "a").await;
    assert_eq!(got.content_type(), Some("image/png"));
    assert_eq!(got.cache_control(), Some("no-cache"));
    assert_eq!(got.content_disposition(), Some("inline"));
    assert_eq!(got.content_encoding(), Some("gzip"));
    assert_eq!(got.content_language(), Some("de"));
    assert_eq!(got.expires_string(), Some("Wed, 18 May 2033 03:33:20 GMT"));
    assert_eq!(got.website_redirect_location(), Some("/b"));
    assert_eq!(got.storage_class(), Some(&StorageClass::StandardIa));
    // S3 encodes the value, since headers are ASCII.
    assert_eq!(got.metadata().unwrap()["name"], "=?UTF-8?B?YWRhIGzDtnZl?=");
    assert_eq!(got.tag_count(), Some(2));
    assert_eq!(head.metadata().unwrap()["plain"], "ada");
    assert_eq!(head.content_length(), Some(10));
    assert_eq!(head.last_modified(), got.last_modified());
    assert_eq!(head.e_tag(), Some("\"781e5e245d69b566979b86e28d23f2c7\""));
    let overridden = request.response_content_type("text/plain");
    let overridden = overridden.response_cache_control("max-age=1");
    let overridden = overridden.send().await.unwrap();
    assert_eq!(overridden.content_type(), Some("text/plain"));
    assert_eq!(overridden.cache_control(), Some("max-age=1"));
    let put = || put_request(&s3, "b", "");
    for (refused, expected) in [
        (
            put().storage_class(StorageClass::from("COLD")),
            "InvalidStorageClass",
        ),
        (put().metadata("a", "x".repeat(2048)), "MetadataTooLarge"),
    ] {
        assert_eq!(code(refused.send().await.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn an_expires_header_of_any_text_comes_back_as_it_was_put() {
    let (_cloud, s3) = cloud_with_bucket().await;
    for text in ["Wed, 21 Oct 2037 07:28:00 GMT", "0", "-1", "5d", "tomorrow"] {
        let put = put_request(&s3, "a", "body").customize();
        let put = put.mutate_request(move |request| {
            request.headers_mut().insert("expires", text);
        });
        put.send().await.unwrap();
        assert_eq!(get(&s3, "a").await, b"body");
        let copy = s3.copy_object().bucket(BUCKET).key("b");
        let copied = copy.copy_source(format!("{BUCKET}/a")).send().await;
        copied.unwrap();
        for key in ["a", "b"] {
            let got = s3.get_object().bucket(BUCKET).key(key).send().await;
            assert_eq!(got.unwrap().expires_string(), Some(text));
            assert_eq!(head(&s3, key).await.expires_string(), Some(text));
        }
    }
    let get = s3.get_object().bucket(BUCKET).key("a");
    let overridden = get.response_expires(DateTime::from_secs(2_000_000_000));
    let overridden = overridden.send().await.unwrap();
    let date = "Wed, 18 May 2033 03:33:20 GMT";
    assert_eq!(overridden.expires_string(), Some(date));
}

#[tokio::test]
async fn ranges_are_read() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let small = b"0123456789".to_vec();
    let large: Vec<u8> = (0..3_000_000u32)
        .map(|number| (number % 251) as u8)
        .collect();
    put(&s3, "small", small.clone()).await;
    put(&s3, "large", large.clone()).await;
    assert!(get(&s3, "large").await == large);
    for (key, range, expected) in [
        ("small", "bytes=2-4", Some(2..5)),
        ("small", "bytes=2-", Some(2..10)),
        ("small", "bytes=-3", Some(7..10)),
        ("small", "bytes=5-99", Some(5..10)),
        ("small", "bytes=-99", Some(0..10)),
        ("small", "bytes=0-1,3-4", None),
        ("small", "lines=1-2", None),
        ("large", "bytes=1000000-2500000", Some(1_000_000..2_500_001)),
    ] {
        let body = if key == "small" { &small } else { &large };
        let request = s3.get_object().bucket(BUCKET).key(key).range(range);
        let got = request.send().await.unwrap();
        let expected_range = expected
            .clone()
            .map(|bytes| format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, body.len()));
        assert_eq!(got.content_range(), expected_range.as_deref(), "{range}");
        let bytes = expected.unwrap_or(0..body.len());
        assert!(bytes_of(got.body).await == body[bytes], "{range}");
    }
    put(&s3, "empty", "").await;
    for (key, range) in [
        ("small", "bytes=10-"),
        ("empty", "bytes=0-"),
        ("empty", "bytes=-1"),
    ] {
        let request = s3.get_object().bucket(BUCKET).key(key).range(range);
        assert_eq!(code(request.send().await.unwrap_err()), "InvalidRange");
    }
}

#[tokio::test]
async fn checksums_are_verified_and_stored() {
    let (_cloud, s3) = cloud_with_bucket().await;
    for (algorithm, length) in [
        (ChecksumAlgorithm::Crc32, 8),
        (ChecksumAlgorithm::Crc32C, 8),
        (ChecksumAlgorithm::Crc64Nvme, 12),
        (ChecksumAlgorithm::Sha1, 28),
        (ChecksumAlgorithm::Sha256, 44),
    ] {
        let put = put_request(&s3, "a", "body").checksum_algorithm(algorithm.clone());
        put.send().await.unwrap();
        let head = s3.head_object().bucket(BUCKET).key("a");
        let head = head.checksum_mode(ChecksumMode::Enabled).send().await;
        let head = head.unwrap();
        let checksum = match algorithm {
            ChecksumAlgorithm::Crc32 => head.checksum_crc32(),
            ChecksumAlgorithm::Crc32C => head.checksum_crc32_c(),
            ChecksumAlgorithm::Crc64Nvme => head.checksum_crc64_nvme(),
            ChecksumAlgorithm::Sha1 => head.checksum_sha1(),
            _ => head.checksum_sha256(),
        };
        assert_eq!(checksum.map(str::len), Some(length), "{algorithm}");
        assert_eq!(head.checksum_type(), Some(&ChecksumType::FullObject));
        let attributes = s3.get_object_attributes().bucket(BUCKET).key("a");
        let attributes = attributes
            .object_attributes(ObjectAttributes::Checksum)
            .object_attributes(ObjectAttributes::ObjectSize)
            .object_attributes(ObjectAttributes::Etag)
            .send()
            .await
            .unwrap();
        assert_eq!(attributes.object_size(), Some(4));
        let etag = attributes.e_tag().unwrap().trim_matches('"');
        assert_eq!(etag, "841a2d689ad86bd1611447453c22c6fc");
        assert!(attributes.checksum().is_some());
    }
    let put = || put_request(&s3, "b", "body");
    let other_sha256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    for (refused, expected) in [
        (put().checksum_sha256(other_sha256), "BadDigest"),
        (put().checksum_crc32("x"), "InvalidRequest"),
        (put().content_md5("1B2M2Y8AsgTpgAmY7PhCfg=="), "BadDigest"),
        (put().content_md5("x"), "InvalidDigest"),
    ] {
        assert_eq!(code(refused.send().await.unwrap_err()), expected);
    }
    let right = put().content_md5("hBotaJrYa9FhFEdFPCLG/A==");
    right.send().await.unwrap();
}

#[tokio::test]
async fn copies_keep_or_replace_metadata() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let put = put_request(&s3, "a", "body").metadata("by", "ada");
    let put = put.content_type("text/plain").tagging("k=v").send().await;
    let etag = put.unwrap().e_tag.unwrap();
    let copy_from = |source: &str, key: &str| {
        let copy = s3.copy_object().bucket(BUCKET).key(key);
        copy.copy_source(format!("{BUCKET}/{source}"))
    };
    let copy = |key: &str| copy_from("a", key);
    let copied = copy("b").send().await.unwrap();
    assert_eq!(copied.copy_object_result().unwrap().e_tag(), Some(&*etag));
    let copied = head(&s3, "b").await;
    assert_eq!(copied.metadata().unwrap()["by"], "ada");
    assert_eq!(copied.content_type(), Some("text/plain"));
    copy("c")
        .metadata_directive(MetadataDirective::Replace)
        .metadata("by", "bob")
        .tagging_directive(TaggingDirective::Replace)
        .send()
        .await
        .unwrap();
    let replaced = head(&s3, "c").await;
    assert_eq!(replaced.metadata().unwrap()["by"], "bob");
    assert_eq!(replaced.content_type(), Some("binary/octet-stream"));
    let tags = s3.get_object_tagging().bucket(BUCKET).key("c");
    assert!(tags.send().await.unwrap().tag_set().is_empty());
    for (refused, expected) in [
        (copy("a"), "InvalidRequest"),
        (copy_from("absent", "d"), "NoSuchKey"),
        (
            copy("d").copy_source_if_none_match(&etag),
            "PreconditionFailed",
        ),
    ] {
        assert_eq!(code(refused.send().await.unwrap_err()), expected);
    }
    copy("d").copy_source_if_match(&etag).send().await.unwrap();
}

#[tokio::test]
async fn an_overwritten_object_can_be_read_to_its_end() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let old: Vec<u8> = vec![1; 20_000_000];
    put(&s3, "a", old.clone()).await;
    let reading = s3.get_object().bucket(BUCKET).key("a").send().await;
    let mut reading = reading.unwrap().body;
    let mut got = reading.next().await.unwrap().unwrap().to_vec();
    put(&s3, "a", "new").await;
    delete(&s3, "a").await;
    while let Some(bytes) = reading.next().await {
        got.extend_from_slice(&bytes.unwrap());
    }
    assert!(got == old);
}

#[tokio::test]
async fn tags_are_set_read_and_deleted() {
    let (_cloud, s3) = cloud_with_bucket().await;
    put(&s3, "a", "body").await;
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build().unwrap();
    let tagging = |tags: Vec<Tag>| Tagging::builder().set_tag_set(Some(tags)).build().unwrap();
    let put_tags = |tags| {
        let put = s3.put_object_tagging().bucket(BUCKET).key("a");
        put.tagging(tagging(tags)).send()
    };
    let two = vec![tag("k", "v"), tag("l", "w")];
    put_tags(two.clone()).await.unwrap();
    let read = || s3.get_object_tagging().bucket(BUCKET).key("a").send();
    assert_eq!(read().await.unwrap().tag_set(), two);
    assert_eq!(get(&s3, "a").await, b"body");
    let twice = vec![tag("k", "v"), tag("k", "w")];
    assert_eq!(code(put_tags(twice).await.unwrap_err()), "InvalidTag");
    let many = (0..11).map(|number| tag(&number.to_string(), ""));
    let refused = put_tags(many.collect()).await.unwrap_err();
    assert_eq!(code(refused), "BadRequest");
    let delete = s3.delete_object_tagging().bucket(BUCKET).key("a");
    delete.send().await.unwrap();
    assert!(read().await.unwrap().tag_set().is_empty());

    let bucket_tags = || s3.get_bucket_tagging().bucket(BUCKET).send();
    assert_eq!(code(bucket_tags().await.unwrap_err()), "NoSuchTagSet");
    let put = s3.put_bucket_tagging().bucket(BUCKET);
    let put = put.tagging(tagging(vec![tag("k", "v")]));
    put.send().await.unwrap();
    assert_eq!(bucket_tags().await.unwrap().tag_set(), [tag("k", "v")]);
    let delete = s3.delete_bucket_tagging().bucket(BUCKET);
    delete.send().await.unwrap();
    assert_eq!(code(bucket_tags().await.unwrap_err()), "NoSuchTagSet");
}
