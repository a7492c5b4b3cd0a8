//! SQS as the AWS SDK sees it. This file has the helpers and the operations on queues.

mod errors;
mod faults;
mod messages;
mod permissions;
mod query;
mod redrive;
mod stored;
mod waiting;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, QueueAttributeName};

use crate::cloud::Cloud;

async fn cloud_with_queue() -> (Cloud, Client, String) {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs, "q").await;
    (cloud, sqs, url)
}

/// Creates a queue and returns its URL.
async fn queue(sqs: &Client, name: &str) -> String {
    let created = sqs.create_queue().queue_name(name).send().await;
    created.unwrap().queue_url.unwrap()
}

async fn attribute(sqs: &Client, url: &str, name: QueueAttributeName) -> String {
    let request = sqs.get_queue_attributes().queue_url(url);
    let response = request.attribute_names(name.clone()).send().await;
    let attributes = response.unwrap().attributes.unwrap();
    attributes[&name].clone()
}

/// Returns `ApproximateNumberOfMessages`.
async fn available(sqs: &Client, url: &str) -> String {
    attribute(sqs, url, QueueAttributeName::ApproximateNumberOfMessages).await
}

async fn send(sqs: &Client, url: &str, body: &str) {
    let send = sqs.send_message().queue_url(url).message_body(body);
    send.send().await.unwrap();
}

async fn receive(sqs: &Client, url: &str, wait_seconds: i32) -> Vec<Message> {
    let receive = sqs.receive_message().queue_url(url);
    let received = receive.wait_time_seconds(wait_seconds).send().await;
    received.unwrap().messages.unwrap_or_default()
}

async fn delete(sqs: &Client, url: &str, message: &Message) {
    let delete = sqs.delete_message().queue_url(url);
    let delete = delete.receipt_handle(message.receipt_handle().unwrap());
    delete.send().await.unwrap();
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
    let find = || sqs.get_queue_url().queue_name("muster-req-queue").send();
    assert_eq!(find().await.unwrap().queue_url.as_ref(), Some(&url));
    let listed = sqs.list_queues().queue_name_prefix("muster").send().await;
    assert_eq!(listed.unwrap().queue_urls(), [url.as_str()]);
    let first = sqs.list_queues().max_results(1).send().await.unwrap();
    let second = sqs.list_queues().max_results(1);
    let second = second.set_next_token(first.next_token).send().await;
    let second = second.unwrap();
    assert!(second.queue_urls()[0].ends_with("/other"));
    assert_eq!(second.next_token, None);
    sqs.delete_queue().queue_url(&url).send().await.unwrap();
    let gone = find().await.unwrap_err().into_service_error();
    assert!(gone.is_queue_does_not_exist(), "{gone:?}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_bare_queue_name_is_accepted_as_a_queue_url() {
    let (_cloud, sqs, _) = cloud_with_queue().await;
    send(&sqs, "q", "hello").await;
    assert_eq!(available(&sqs, "q").await, "1");
}

#[tokio::test]
async fn attributes_are_read_and_changed() {
    let (_cloud, sqs, url) = cloud_with_queue().await;
    let get = || sqs.get_queue_attributes().queue_url(&url);
    let all = get().attribute_names(QueueAttributeName::All).send().await;
    let all = all.unwrap().attributes.unwrap();
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
    let created: u64 = all[&QueueAttributeName::CreatedTimestamp].parse().unwrap();
    assert!(created > 1_700_000_000);
    sqs.set_queue_attributes()
        .queue_url(&url)
        .attributes(QueueAttributeName::VisibilityTimeout, "7")
        .send()
        .await
        .unwrap();
    let changed = attribute(&sqs, &url, QueueAttributeName::VisibilityTimeout).await;
    assert_eq!(changed, "7");
    assert_eq!(get().send().await.unwrap().attributes, None);
}
