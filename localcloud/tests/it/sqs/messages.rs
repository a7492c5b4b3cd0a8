//! Messages, singly and in batches.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use super::{attribute, available, cloud_with_queue};
use crate::cloud::{Cloud, code};

fn text(data_type: &str, value: &str) -> MessageAttributeValue {
    let value = MessageAttributeValue::builder().string_value(value);
    value.data_type(data_type).build().unwrap()
}

/// A queue that takes messages of up to 1024 bytes.
async fn cloud_with_small_messages() -> (Cloud, Client, String) {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let create = sqs.create_queue().queue_name("q");
    let create = create.attributes(QueueAttributeName::MaximumMessageSize, "1024");
    let url = create.send().await.unwrap().queue_url.unwrap();
    (cloud, sqs, url)
}

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    let entry = SendMessageBatchRequestEntry::builder().id(id);
    entry.message_body(body).build().unwrap()
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    let (_cloud, sqs, url) = cloud_with_queue().await;
    let raw = MessageAttributeValue::builder()
        .data_type("Binary.png")
        .binary_value(Blob::new([0, 159, 255]))
        .build();
    let body = "é \u{1F600} <&> \"quoted\"\n";
    // The SDK checks the digest of the body; the test checks that of the attributes.
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
    let receives = &system[&MessageSystemAttributeName::ApproximateReceiveCount];
    assert_eq!(receives, "1");
    let sent = &system[&MessageSystemAttributeName::SentTimestamp];
    assert!(sent.parse::<u64>().unwrap() > 1_700_000_000_000);
    assert!(system.contains_key(&MessageSystemAttributeName::ApproximateFirstReceiveTimestamp));

    sqs.change_message_visibility()
        .queue_url(&url)
        .receipt_handle(message.receipt_handle().unwrap())
        .visibility_timeout(0)
        .send()
        .await
        .unwrap();
    let receive = sqs.receive_message().queue_url(&url);
    let again = receive.message_attribute_names("k.*").send().await.unwrap();
    let attributes = again.messages()[0].message_attributes().unwrap();
    assert_eq!(attributes.keys().collect::<Vec<_>>(), ["kind"]);
}

#[tokio::test]
async fn the_group_of_a_message_is_returned() {
    let (_cloud, sqs, url) = cloud_with_queue().await;
    let send = |group: &str| {
        let send = sqs.send_message().queue_url(&url).message_body("a");
        send.message_group_id(group).send()
    };
    let longest = format!("tenant-1!~{}", "g".repeat(118));
    send(&longest).await.unwrap();
    for name in [
        MessageSystemAttributeName::MessageGroupId,
        MessageSystemAttributeName::All,
    ] {
        let receive = sqs.receive_message().queue_url(&url).visibility_timeout(0);
        let received = receive.message_system_attribute_names(name).send().await;
        let received = received.unwrap();
        let attributes = received.messages()[0].attributes().unwrap();
        assert_eq!(
            attributes[&MessageSystemAttributeName::MessageGroupId],
            longest
        );
    }
    for group in ["", "a b", "\u{e9}", &"g".repeat(129)] {
        let refused = send(group).await.unwrap_err();
        assert_eq!(code(refused), "InvalidParameterValue", "{group:?}");
    }
}

#[tokio::test]
async fn the_text_of_an_attribute_has_the_letters_of_a_body() {
    let (_cloud, sqs, url) = cloud_with_queue().await;
    let send = |value: &str| {
        let send = sqs.send_message().queue_url(&url).message_body("a");
        send.message_attributes("a", text("String", value)).send()
    };
    for value in ["\0", "a\u{b}b", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
        let refused = send(value).await.unwrap_err();
        assert_eq!(code(refused), "InvalidMessageContents", "{value:?}");
    }
    send("\t\n\r ~\u{d7ff}\u{e000}\u{fffd}\u{1f600}")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_size_limit_counts_attributes() {
    let (_cloud, sqs, url) = cloud_with_small_messages().await;
    let send = |length: usize| {
        let send = sqs.send_message().queue_url(&url);
        send.message_body("x".repeat(length))
    };
    send(1024).send().await.unwrap();
    let with_label = send(1020).message_attributes("label", text("String", "v"));
    for large in [send(1025), with_label] {
        let refused = large.send().await.unwrap_err();
        assert_eq!(code(refused), "InvalidParameterValue");
    }
    assert_eq!(available(&sqs, &url).await, "1");
}

#[tokio::test]
async fn a_batch_returns_a_result_for_each_entry() {
    let (_cloud, sqs, url) = cloud_with_small_messages().await;
    let sent = sqs
        .send_message_batch()
        .queue_url(&url)
        .entries(entry("small", "a"))
        .entries(entry("large", &"x".repeat(1025)))
        .entries(entry("second", "b"))
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
        .entries(delete("c", "unknown"))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful().len(), 2);
    assert_eq!(deleted.failed()[0].code(), "ReceiptHandleIsInvalid");
    let in_flight = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
    assert_eq!(attribute(&sqs, &url, in_flight).await, "0");
}

#[tokio::test]
async fn batches_beyond_the_limits_are_refused() {
    let (_cloud, sqs, url) = cloud_with_queue().await;
    let send = |ids: &[&str], body: &str| {
        let entries = ids.iter().map(|id| entry(id, body)).collect();
        let batch = sqs.send_message_batch().queue_url(&url);
        batch.set_entries(Some(entries)).send()
    };
    let ids = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    let sent = send(&ids[..10], "a").await.unwrap();
    assert_eq!(sent.successful().len(), 10);
    let large = "x".repeat(400_000);
    for (ids, body, expected) in [
        (&ids[..], "a", "TooManyEntriesInBatchRequest"),
        (&[], "a", "EmptyBatchRequest"),
        (&["same", "same"], "a", "BatchEntryIdsNotDistinct"),
        (&["not allowed"], "a", "InvalidBatchEntryId"),
        (&ids[..3], &large, "BatchRequestTooLong"),
    ] {
        let refused = code(send(ids, body).await.unwrap_err());
        assert_eq!(refused, format!("AWS.SimpleQueueService.{expected}"));
    }
    for count in [0, 11] {
        let receive = sqs.receive_message().queue_url(&url);
        let refused = receive.max_number_of_messages(count).send().await;
        assert_eq!(code(refused.unwrap_err()), "InvalidParameterValue");
    }
}
