//! SQS: queues, messages, batches and the shape of errors.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;

use crate::cloud::Cloud;

pub async fn queue(sqs: &Client, name: &str) -> String {
    sqs.create_queue()
        .queue_name(name)
        .send()
        .await
        .unwrap()
        .queue_url
        .unwrap()
}

pub async fn attribute(sqs: &Client, url: &str, name: QueueAttributeName) -> String {
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
