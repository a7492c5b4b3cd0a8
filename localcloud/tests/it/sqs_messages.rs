//! Messages on their way, one by one and in batches.

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use crate::cloud::{Cloud, code};
use crate::sqs::{attribute, queue};

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
