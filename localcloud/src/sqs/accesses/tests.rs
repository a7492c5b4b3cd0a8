#![allow(clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::iam::describe;

#[test]
fn calls_of_sqs_need_the_actions_of_the_reference() {
    let url = r#"{"QueueUrl": "http://127.0.0.1:4566/000000000000/jobs"}"#;
    let tasks = r#"{"SourceArn": "arn:a", "DestinationArn": "arn:b"}"#;
    let handle = STANDARD.encode(r#"{"taskId": "1", "sourceArn": "arn:a"}"#);
    let cancel = format!(r#"{{"TaskHandle": "{handle}"}}"#);
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
        (
            "ListMessageMoveTasks",
            tasks,
            "sqs:ListMessageMoveTasks arn:a".to_owned(),
        ),
        (
            "CancelMessageMoveTask",
            cancel.as_str(),
            "sqs:CancelMessageMoveTask arn:a, sqs:ReceiveMessage arn:a, sqs:DeleteMessage arn:a, \
             sqs:GetQueueAttributes arn:a"
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
        let needed = call.accesses("us-east-1", action);
        assert_eq!(describe(&needed), expected, "{action}");
    }
    let form = SqsCall::of_form(b"Action=SendMessage&MessageBody=x", "/000000000000/jobs");
    let needed = form.unwrap().accesses("us-east-1", "SendMessage");
    assert_eq!(describe(&needed), format!("sqs:SendMessage {queue}"));
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
