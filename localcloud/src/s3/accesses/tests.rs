#![allow(clippy::unwrap_used)]

use super::*;
use crate::iam::describe;
use crate::table::rows;

#[test]
fn calls_of_s3_need_the_actions_of_the_reference() {
    let table = "
        HeadBucket | - | - | - | s3:ListBucket arn:aws:s3:::b
        ListObjectsV2 | - | list-type=2&prefix=a%2F | - | s3:ListBucket arn:aws:s3:::b
        ListBuckets | - | - | - | s3:ListAllMyBuckets *
        HeadObject | k | - | - | s3:GetObject arn:aws:s3:::b/k
        GetObject | k | versionId=null | - | s3:GetObjectVersion arn:aws:s3:::b/k
        PutObject | k | - | - | s3:PutObject arn:aws:s3:::b/k
        PutObject | k | - | if-match | s3:PutObject arn:aws:s3:::b/k, s3:GetObject arn:aws:s3:::b/k
        PutObject | k | - | x-amz-tagging | s3:PutObject arn:aws:s3:::b/k, s3:PutObjectTagging arn:aws:s3:::b/k
        UploadPart | k | - | - | s3:PutObject arn:aws:s3:::b/k
        UploadPartCopy | k | - | x-amz-copy-source | s3:GetObject arn:aws:s3:::other/a b, s3:PutObject arn:aws:s3:::b/k
        CopyObject | k | - | x-amz-copy-source | s3:PutObject arn:aws:s3:::b/k, s3:GetObject arn:aws:s3:::other/a b
        DeleteObjects | - | delete | - | -
        SelectObjectContent | k | - | - | s3:* *
    ";
    for row in rows::<5>(table) {
        let [operation, key, query, header, expected] =
            row.map(|field| if field == "-" { "" } else { field });
        let mut sent = HeaderMap::new();
        if !header.is_empty() {
            sent.insert(
                http::HeaderName::from_static(header),
                "/other/a%20b".parse().unwrap(),
            );
        }
        let call = S3Call {
            operation,
            bucket: "b",
            key,
            query,
            headers: &sent,
        };
        let needed = accesses(&call);
        assert_eq!(describe(&needed), expected, "{operation}");
        let prefix = needed.first().and_then(|it| it.values("s3:prefix"));
        assert_eq!(prefix.is_some(), operation == "ListObjectsV2");
    }
}

#[test]
fn the_source_of_a_copy_is_read_as_the_copy_reads_it() {
    for (source, expected) in [
        ("%2Fvictim/key", "arn:aws:s3:::victim/key"),
        ("victim%2Fkey?versionId=null", "arn:aws:s3:::victim/key"),
        ("victim/%zz", "arn:aws:s3:::victim/%zz"),
        ("victim/%FF", "*"),
        ("victim", "*"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-copy-source", source.parse().unwrap());
        let call = S3Call {
            operation: "CopyObject",
            bucket: "b",
            key: "k",
            query: "",
            headers: &headers,
        };
        let expected = format!("s3:GetObject {expected}");
        let needed = accesses(&call);
        assert_eq!(describe(&needed[1..]), expected, "{source}");
    }
}
