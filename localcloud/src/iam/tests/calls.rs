//! The accesses that calls of S3 and SQS need.

use http::HeaderMap;

use super::*;
use crate::iam::s3::S3Call;
use crate::iam::sqs::SqsCall;

fn names(accesses: &[Access]) -> Vec<String> {
    let accesses = accesses.iter();
    accesses
        .map(|it| format!("{} {}", it.action, it.resource))
        .collect()
}

#[test]
fn calls_of_s3_need_the_actions_of_the_reference() {
    for (operation, key, query, headers, expected) in [
        ("HeadBucket", "", "", "", "s3:ListBucket arn:aws:s3:::b"),
        (
            "ListObjectsV2",
            "",
            "list-type=2&prefix=a%2F",
            "",
            "s3:ListBucket arn:aws:s3:::b",
        ),
        ("ListBuckets", "", "", "", "s3:ListAllMyBuckets *"),
        ("HeadObject", "k", "", "", "s3:GetObject arn:aws:s3:::b/k"),
        (
            "GetObject",
            "k",
            "versionId=null",
            "",
            "s3:GetObjectVersion arn:aws:s3:::b/k",
        ),
        ("PutObject", "k", "", "", "s3:PutObject arn:aws:s3:::b/k"),
        (
            "PutObject",
            "k",
            "",
            "if-match",
            "s3:PutObject arn:aws:s3:::b/k, s3:GetObject arn:aws:s3:::b/k",
        ),
        (
            "PutObject",
            "k",
            "",
            "x-amz-tagging",
            "s3:PutObject arn:aws:s3:::b/k, s3:PutObjectTagging arn:aws:s3:::b/k",
        ),
        ("UploadPart", "k", "", "", "s3:PutObject arn:aws:s3:::b/k"),
        (
            "UploadPartCopy",
            "k",
            "",
            "x-amz-copy-source",
            "s3:GetObject arn:aws:s3:::other/a b, s3:PutObject arn:aws:s3:::b/k",
        ),
        (
            "CopyObject",
            "k",
            "",
            "x-amz-copy-source",
            "s3:PutObject arn:aws:s3:::b/k, s3:GetObject arn:aws:s3:::other/a b",
        ),
        ("DeleteObjects", "", "delete", "", ""),
        ("SelectObjectContent", "k", "", "", "s3:* *"),
    ] {
        let mut sent = HeaderMap::new();
        if !headers.is_empty() {
            sent.insert(
                http::HeaderName::from_static(headers),
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
        let needed = super::s3::accesses(&call);
        assert_eq!(names(&needed).join(", "), expected, "{operation}");
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
        assert_eq!(names(&super::s3::accesses(&call))[1], expected, "{source}");
    }
}

#[test]
fn calls_of_sqs_need_the_actions_of_the_reference() {
    let iam = Iam::without_roles(Clock::start(), Authentication::Any);
    let url = r#"{"QueueUrl": "http://127.0.0.1:4566/000000000000/jobs"}"#;
    let tasks = r#"{"SourceArn": "arn:a", "DestinationArn": "arn:b"}"#;
    let queue = "arn:aws:sqs:us-east-1:000000000000:jobs";
    for (action, body, expected) in [
        ("SendMessage", url, format!("sqs:SendMessage {queue}")),
        ("SendMessageBatch", url, format!("sqs:SendMessage {queue}")),
        (
            "ChangeMessageVisibilityBatch",
            url,
            format!("sqs:ChangeMessageVisibility {queue}"),
        ),
        (
            "GetQueueUrl",
            r#"{"QueueName": "jobs"}"#,
            format!("sqs:GetQueueUrl {queue}"),
        ),
        (
            "CreateQueue",
            r#"{"QueueName": "jobs", "tags": {"a": "b"}}"#,
            format!("sqs:CreateQueue {queue}, sqs:TagQueue {queue}"),
        ),
        ("ListQueues", "{}", "sqs:ListQueues *".to_owned()),
        (
            "StartMessageMoveTask",
            tasks,
            "sqs:StartMessageMoveTask arn:a, sqs:ReceiveMessage arn:a, sqs:DeleteMessage arn:a, \
             sqs:GetQueueAttributes arn:a, sqs:SendMessage arn:b"
                .to_owned(),
        ),
        // A call without a queue is one on any.
        (
            "SendMessage",
            "{}",
            "sqs:SendMessage arn:aws:sqs:us-east-1:000000000000:*".to_owned(),
        ),
    ] {
        let call = SqsCall::of_json(body.as_bytes()).unwrap();
        let needed = iam.sqs_accesses(action, &call);
        assert_eq!(names(&needed).join(", "), expected, "{action}");
    }
    let form = SqsCall::of_form(b"Action=SendMessage&MessageBody=x", "/000000000000/jobs");
    let needed = iam.sqs_accesses("SendMessage", &form.unwrap());
    assert_eq!(names(&needed), [format!("sqs:SendMessage {queue}")]);
}

#[test]
fn a_call_of_sqs_that_cannot_be_read_needs_no_guess() {
    // SendMessage reads no QueueName, so the call itself would succeed.
    for body in [
        "{",
        r#"{"QueueUrl": "jobs", "QueueName": 1}"#,
        r#"{"QueueUrl": "jobs", "QueueUrl": "other"}"#,
    ] {
        assert!(SqsCall::of_json(body.as_bytes()).is_err(), "{body}");
    }
    let twice = b"Action=SendMessage&QueueUrl=first&QueueUrl=second";
    let read = SqsCall::of_form(twice, "/").unwrap();
    assert_eq!(read.queue_url.as_deref(), Some("first"));
}
