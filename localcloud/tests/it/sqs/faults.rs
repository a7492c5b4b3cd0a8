//! Fault injection into queues, as the SDK sees it.

use std::collections::BTreeSet;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::Message;
use localcloud::{Config, SqsFaults};

use super::{available, queue, send};
use crate::cloud::{Cloud, eventually, raw, request};

fn config(inject: impl FnOnce(&mut SqsFaults)) -> Config {
    let mut config = Config::default();
    config.faults.seed = 11;
    inject(&mut config.faults.sqs);
    config
}

async fn start(inject: impl FnOnce(&mut SqsFaults)) -> (Cloud, Client) {
    let cloud = Cloud::with(config(inject)).await;
    let sqs = cloud.sqs();
    queue(&sqs, "q").await;
    (cloud, sqs)
}

async fn receive(sqs: &Client, wait_seconds: i32) -> Vec<Message> {
    sqs.receive_message()
        .queue_url("q")
        .max_number_of_messages(10)
        .visibility_timeout(1)
        .wait_time_seconds(wait_seconds)
        .send()
        .await
        .unwrap()
        .messages
        .unwrap_or_default()
}

async fn delete(sqs: &Client, message: &Message) {
    super::delete(sqs, "q", message).await;
}

#[tokio::test]
async fn a_short_poll_can_miss_messages_but_a_long_poll_cannot() {
    let (cloud, sqs) = start(|faults| faults.empty_receive = 1.0).await;
    send(&sqs, "q", "a").await;
    assert!(receive(&sqs, 0).await.is_empty());
    assert_eq!(receive(&sqs, 1).await.len(), 1);
    cloud.stop().await;
}

#[tokio::test]
async fn duplicates_end_when_the_faults_are_removed() {
    let (cloud, sqs) = start(|faults| faults.duplicate = 1.0).await;
    send(&sqs, "q", "a").await;
    let first = receive(&sqs, 0).await.remove(0);
    let second = receive(&sqs, 0).await.remove(0);
    assert_eq!(first.message_id, second.message_id);
    assert_ne!(first.receipt_handle, second.receipt_handle);
    delete(&sqs, &second).await;
    let delete_faults = request("DELETE", "/_localcloud/faults", "", "");
    assert_eq!(raw(&cloud.endpoint, &delete_faults).await.0, 200);
    send(&sqs, "q", "b").await;
    assert_eq!(receive(&sqs, 0).await[0].body(), Some("b"));
    assert!(receive(&sqs, 0).await.is_empty());
    cloud.stop().await;
}

#[tokio::test]
async fn a_deleted_message_comes_back_once_even_after_a_restart() {
    let (cloud, sqs) = start(|faults| faults.deliver_after_delete = 1.0).await;
    send(&sqs, "q", "a").await;
    let first = receive(&sqs, 0).await.remove(0);
    delete(&sqs, &first).await;
    let config = config(|faults| faults.deliver_after_delete = 1.0);
    let cloud = Cloud::over(cloud.stop().await, config).await;
    let sqs = cloud.sqs();
    let back = receive(&sqs, 20).await.remove(0);
    assert_eq!(back.message_id, first.message_id);
    delete(&sqs, &back).await;
    // Its visibility timeout is one second.
    assert!(receive(&sqs, 2).await.is_empty());
    cloud.stop().await;
}

#[tokio::test]
async fn counters_lag() {
    let (cloud, sqs) = start(|faults| faults.counter_lag_ms = 60_000).await;
    send(&sqs, "q", "a").await;
    assert_eq!(available(&sqs, "q").await, "0");
    cloud.set_faults("[sqs]\ncounter_lag_ms = 200").await;
    send(&sqs, "q", "b").await;
    eventually("the counter catches up", || async {
        (available(&sqs, "q").await == "2").then_some(())
    })
    .await;
    cloud.stop().await;
}

#[tokio::test]
async fn with_all_faults_at_once_no_message_is_lost() {
    let all = SqsFaults {
        counter_lag_ms: 1000,
        duplicate: 0.3,
        deliver_after_delete: 0.3,
        empty_receive: 0.3,
    };
    let (cloud, sqs) = start(|faults| *faults = all).await;
    let sent: BTreeSet<String> = (0..200).map(|number| number.to_string()).collect();
    for body in &sent {
        send(&sqs, "q", body).await;
    }
    let mut seen = BTreeSet::new();
    let mut deliveries = 0;
    while seen.len() < sent.len() {
        for message in receive(&sqs, 20).await {
            deliveries += 1;
            delete(&sqs, &message).await;
            seen.insert(message.body.unwrap());
        }
    }
    assert_eq!(seen, sent);
    // Deleted messages come back once, so the queue empties in the end.
    loop {
        let again = receive(&sqs, 2).await;
        if again.is_empty() {
            break;
        }
        for message in again {
            deliveries += 1;
            delete(&sqs, &message).await;
        }
    }
    assert!(deliveries > sent.len(), "{deliveries}");
    cloud.stop().await;
}
