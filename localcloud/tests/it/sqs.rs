//! SQS: queues, messages, batches and the shape of errors.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use crate::cloud::{Cloud, code, eventually, raw};

async fn queue(sqs: &Client, name: &str) -> String {
    sqs.create_queue()
        .queue_name(name)
        .send()
        .await
        .unwrap()
        .queue_url
        .unwrap()
}

async fn attribute(sqs: &Client, url: &str, name: QueueAttributeName) -> String {
    let answer = sqs
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(name.clone())
        .send()
        .await
        .unwrap();
    answer.attributes.unwrap().remove(&name).unwrap()
}

#[tokio::test]
async fn queues_are_created_found_listed_and_deleted() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs, "muster-req-queue").await;
    assert_eq!(
        url,
        format!("{}/000000000000/muster-req-queue", cloud.endpoint)
    );
    assert_eq!(
        queue(&sqs, "muster-req-queue").await,
        url,
        "creating is idempotent"
    );
    queue(&sqs, "other").await;
    let found = sqs
        .get_queue_url()
        .queue_name("muster-req-queue")
        .send()
        .await
        .unwrap();
    assert_eq!(found.queue_url.as_deref(), Some(url.as_str()));
    let listed = sqs
        .list_queues()
        .queue_name_prefix("muster")
        .send()
        .await
        .unwrap();
    assert_eq!(listed.queue_urls(), [url.as_str()]);
    let first = sqs.list_queues().max_results(1).send().await.unwrap();
    let second = sqs
        .list_queues()
        .max_results(1)
        .set_next_token(first.next_token)
        .send()
        .await
        .unwrap();
    assert!(second.queue_urls()[0].ends_with("/other"));
    assert_eq!(second.next_token, None);
    sqs.delete_queue().queue_url(&url).send().await.unwrap();
    let gone = sqs
        .get_queue_url()
        .queue_name("muster-req-queue")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(gone.is_queue_does_not_exist(), "{gone:?}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_bare_queue_name_is_a_queue_url() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    queue(&sqs, "q").await;
    sqs.send_message()
        .queue_url("q")
        .message_body("hello")
        .send()
        .await
        .unwrap();
    assert_eq!(
        attribute(&sqs, "q", QueueAttributeName::ApproximateNumberOfMessages).await,
        "1"
    );
}

#[tokio::test]
async fn attributes_are_answered_and_changed() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs, "q").await;
    let all = sqs
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .unwrap();
    let all = all.attributes.unwrap();
    for (name, value) in [
        (QueueAttributeName::VisibilityTimeout, "30"),
        (QueueAttributeName::DelaySeconds, "0"),
        (QueueAttributeName::MaximumMessageSize, "1048576"),
        (QueueAttributeName::MessageRetentionPeriod, "345600"),
        (QueueAttributeName::ReceiveMessageWaitTimeSeconds, "0"),
        (QueueAttributeName::ApproximateNumberOfMessages, "0"),
        (
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            "0",
        ),
        (QueueAttributeName::ApproximateNumberOfMessagesDelayed, "0"),
        (
            QueueAttributeName::QueueArn,
            "arn:aws:sqs:us-east-1:000000000000:q",
        ),
    ] {
        assert_eq!(all.get(&name).map(String::as_str), Some(value), "{name}");
    }
    assert!(
        all[&QueueAttributeName::CreatedTimestamp]
            .parse::<u64>()
            .unwrap()
            > 1_700_000_000
    );
    sqs.set_queue_attributes()
        .queue_url(&url)
        .attributes(QueueAttributeName::VisibilityTimeout, "7")
        .send()
        .await
        .unwrap();
    assert_eq!(
        attribute(&sqs, &url, QueueAttributeName::VisibilityTimeout).await,
        "7"
    );
    let none = sqs
        .get_queue_attributes()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    assert_eq!(none.attributes, None);
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs, "q").await;
    let text = |kind: &str, value: &str| {
        MessageAttributeValue::builder()
            .data_type(kind)
            .string_value(value)
            .build()
            .unwrap()
    };
    let raw = MessageAttributeValue::builder()
        .data_type("Binary.png")
        .binary_value(Blob::new([0, 159, 255]))
        .build();
    let body = "é \u{1F600} <&> \"quoted\"\n";
    // The SDK checks the digest of the body; that of the attributes is checked against the sent one below.
    let sent = sqs
        .send_message()
        .queue_url(&url)
        .message_body(body)
        .message_attributes("count", text("Number", "42"))
        .message_attributes("kind", text("String", "photo"))
        .message_attributes("raw", raw.unwrap())
        .send()
        .await
        .unwrap();
    let received = sqs
        .receive_message()
        .queue_url(&url)
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap();
    let message = &received.messages()[0];
    assert_eq!(message.body(), Some(body));
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.md5_of_body(), sent.md5_of_message_body());
    assert_eq!(
        message.md5_of_message_attributes(),
        sent.md5_of_message_attributes()
    );
    let attributes = message.message_attributes().unwrap();
    assert_eq!(attributes["count"].string_value(), Some("42"));
    assert_eq!(
        attributes["raw"].binary_value().unwrap().as_ref(),
        [0, 159, 255]
    );
    let system = message.attributes().unwrap();
    assert_eq!(
        system[&MessageSystemAttributeName::ApproximateReceiveCount],
        "1"
    );
    assert!(
        system[&MessageSystemAttributeName::SentTimestamp]
            .parse::<u64>()
            .unwrap()
            > 1_700_000_000_000
    );
    assert!(system.contains_key(&MessageSystemAttributeName::ApproximateFirstReceiveTimestamp));

    sqs.change_message_visibility()
        .queue_url(&url)
        .receipt_handle(message.receipt_handle().unwrap())
        .visibility_timeout(0)
        .send()
        .await
        .unwrap();
    let again = sqs
        .receive_message()
        .queue_url(&url)
        .message_attribute_names("k.*")
        .send()
        .await
        .unwrap();
    let names: Vec<_> = again.messages()[0]
        .message_attributes()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(names, ["kind"], "a prefix selects");
}

#[tokio::test]
async fn messages_larger_than_the_queue_takes_are_refused_attributes_included() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let made = sqs
        .create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::MaximumMessageSize, "1024");
    let url = made.send().await.unwrap().queue_url.unwrap();
    let send = |body: String| sqs.send_message().queue_url(&url).message_body(body);
    send("x".repeat(1024)).send().await.unwrap();
    assert_eq!(
        code(send("x".repeat(1025)).send().await.unwrap_err()),
        "InvalidParameterValue"
    );
    let label = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("v")
        .build()
        .unwrap();
    let with_label = send("x".repeat(1020)).message_attributes("label", label);
    assert_eq!(
        code(with_label.send().await.unwrap_err()),
        "InvalidParameterValue"
    );
    assert_eq!(
        attribute(&sqs, &url, QueueAttributeName::ApproximateNumberOfMessages).await,
        "1"
    );
}

#[tokio::test]
async fn batches_answer_for_each_entry() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let made = sqs
        .create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::MaximumMessageSize, "1024");
    let url = made.send().await.unwrap().queue_url.unwrap();
    let entry = |id: &str, body: String| {
        SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(body)
            .build()
            .unwrap()
    };
    let sent = sqs
        .send_message_batch()
        .queue_url(&url)
        .entries(entry("small", "a".to_owned()))
        .entries(entry("large", "x".repeat(1025)))
        .entries(entry("second", "b".to_owned()))
        .send()
        .await
        .unwrap();
    let ids: Vec<_> = sent.successful().iter().map(|entry| entry.id()).collect();
    assert_eq!(ids, ["small", "second"]);
    assert_eq!(
        (sent.failed()[0].id(), sent.failed()[0].code()),
        ("large", "InvalidParameterValue")
    );
    assert!(sent.failed()[0].sender_fault());

    let received = sqs
        .receive_message()
        .queue_url(&url)
        .max_number_of_messages(10)
        .send()
        .await
        .unwrap();
    let handles: Vec<_> = received
        .messages()
        .iter()
        .map(|message| message.receipt_handle().unwrap())
        .collect();
    assert_eq!(handles.len(), 2);
    let change = ChangeMessageVisibilityBatchRequestEntry::builder()
        .id("a")
        .receipt_handle(handles[0])
        .visibility_timeout(60);
    let changed = sqs
        .change_message_visibility_batch()
        .queue_url(&url)
        .entries(change.build().unwrap());
    assert_eq!(changed.send().await.unwrap().successful().len(), 1);
    let delete = |id: &str, handle: &str| {
        DeleteMessageBatchRequestEntry::builder()
            .id(id)
            .receipt_handle(handle)
            .build()
            .unwrap()
    };
    let deleted = sqs
        .delete_message_batch()
        .queue_url(&url)
        .entries(delete("a", handles[0]))
        .entries(delete("b", handles[1]))
        .entries(delete("c", "nonsense"))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful().len(), 2);
    assert_eq!(deleted.failed()[0].code(), "ReceiptHandleIsInvalid");
    assert_eq!(
        attribute(
            &sqs,
            &url,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible
        )
        .await,
        "0"
    );
}

#[tokio::test]
async fn batch_limits() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs, "q").await;
    let entry = |id: String, body: &str| {
        SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(body)
            .build()
            .unwrap()
    };
    let send = |ids: Vec<String>, body: &str| {
        let entries = ids.into_iter().map(|id| entry(id, body)).collect();
        sqs.send_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries))
            .send()
    };
    let numbered = |count: usize| {
        (0..count)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        send(numbered(10), "a").await.unwrap().successful().len(),
        10
    );
    let error = send(numbered(11), "a")
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_too_many_entries_in_batch_request(), "{error:?}");
    let error = send(vec![], "a").await.unwrap_err().into_service_error();
    assert!(error.is_empty_batch_request(), "{error:?}");
    let error = send(vec!["same".into(), "same".into()], "a")
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_batch_entry_ids_not_distinct(), "{error:?}");
    let error = send(vec!["not allowed".into()], "a")
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_invalid_batch_entry_id(), "{error:?}");
    let error = send(numbered(3), &"x".repeat(400_000))
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_batch_request_too_long(), "{error:?}");
    for count in [0, 11] {
        let refused = sqs
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(count)
            .send()
            .await;
        assert_eq!(code(refused.unwrap_err()), "InvalidParameterValue");
    }
}

#[tokio::test]
async fn errors_are_the_exceptions_of_the_sdk() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs, "q").await;
    let error = sqs
        .send_message()
        .queue_url("absent")
        .message_body("a")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    let error = sqs
        .receive_message()
        .queue_url("absent")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    let other = sqs
        .create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::VisibilityTimeout, "1");
    let error = other.send().await.unwrap_err().into_service_error();
    assert!(error.is_queue_name_exists(), "{error:?}");
    let error = sqs
        .send_message()
        .queue_url(&url)
        .message_body("\u{1}")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_invalid_message_contents(), "{error:?}");
    let error = sqs
        .delete_message()
        .queue_url(&url)
        .receipt_handle("x")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_receipt_handle_is_invalid(), "{error:?}");
    let unknown = sqs
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names("Colour".into());
    let error = unknown.send().await.unwrap_err().into_service_error();
    assert!(error.is_invalid_attribute_name(), "{error:?}");
    let value = sqs
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(QueueAttributeName::DelaySeconds, "901");
    let error = value.send().await.unwrap_err().into_service_error();
    assert!(error.is_invalid_attribute_value(), "{error:?}");
    sqs.send_message()
        .queue_url(&url)
        .message_body("a")
        .send()
        .await
        .unwrap();
    let received = sqs
        .receive_message()
        .queue_url(&url)
        .visibility_timeout(0)
        .send()
        .await
        .unwrap();
    let handle = received.messages()[0].receipt_handle().unwrap();
    let late = sqs
        .change_message_visibility()
        .queue_url(&url)
        .receipt_handle(handle)
        .visibility_timeout(1);
    let error = late.send().await.unwrap_err().into_service_error();
    assert!(error.is_message_not_inflight(), "{error:?}");
    sqs.purge_queue().queue_url(&url).send().await.unwrap();
    let error = sqs
        .purge_queue()
        .queue_url(&url)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_purge_queue_in_progress(), "{error:?}");
    assert_eq!(
        code(
            sqs.create_queue()
                .queue_name("q.fifo")
                .send()
                .await
                .unwrap_err()
        ),
        "InvalidParameterValue"
    );
    assert_eq!(
        code(
            sqs.send_message()
                .queue_url(&url)
                .message_body("")
                .send()
                .await
                .unwrap_err()
        ),
        "MissingParameter"
    );
    let far = sqs
        .send_message()
        .queue_url(&url)
        .message_body("a")
        .delay_seconds(901);
    assert_eq!(code(far.send().await.unwrap_err()), "InvalidParameterValue");
}

#[tokio::test]
async fn errors_carry_the_type_and_the_code_of_the_query_protocol() {
    let cloud = Cloud::for_everybody().await;
    let body = r#"{"QueueUrl":"absent","MessageBody":"a"}"#;
    let request = |target: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Amz-Target: AmazonSQS.{target}\r\n\
             Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let (status, answer) = raw(&cloud.endpoint, &request("SendMessage")).await;
    assert_eq!(status, 400);
    assert!(
        answer.contains(r#""__type":"com.amazonaws.sqs#QueueDoesNotExist""#),
        "{answer}"
    );
    let (status, answer) = raw(&cloud.endpoint, &request("NoSuchAction")).await;
    assert_eq!(status, 400);
    assert!(answer.contains("UnknownOperationException"), "{answer}");
}

#[tokio::test]
async fn after_five_receives_a_message_is_in_the_dead_letter_queue() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let dead = queue(&sqs, "dead").await;
    let arn = attribute(&sqs, &dead, QueueAttributeName::QueueArn).await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":5}}"#);
    let made = sqs
        .create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::RedrivePolicy, policy);
    let url = made.send().await.unwrap().queue_url.unwrap();
    sqs.send_message()
        .queue_url(&url)
        .message_body("poison")
        .send()
        .await
        .unwrap();
    for turn in 1..=5 {
        let received = sqs.receive_message().queue_url(&url).visibility_timeout(0);
        let received = received
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .unwrap();
        let attributes = received.messages()[0].attributes().unwrap();
        assert_eq!(
            attributes[&MessageSystemAttributeName::ApproximateReceiveCount],
            turn.to_string()
        );
    }
    // Whoever waits on the dead-letter queue is woken by the receive that gives the message up.
    let waiting = tokio::spawn(
        sqs.receive_message()
            .queue_url(&dead)
            .wait_time_seconds(20)
            .send(),
    );
    let sixth = sqs.receive_message().queue_url(&url).send().await.unwrap();
    assert!(sixth.messages().is_empty());
    assert_eq!(
        waiting.await.unwrap().unwrap().messages()[0].body(),
        Some("poison")
    );
    let sources = sqs
        .list_dead_letter_source_queues()
        .queue_url(&dead)
        .send()
        .await
        .unwrap();
    assert_eq!(sources.queue_urls(), [url.as_str()]);
    eventually("the source is empty", || async {
        (attribute(&sqs, &url, QueueAttributeName::ApproximateNumberOfMessages).await == "0")
            .then_some(())
    })
    .await;
}
