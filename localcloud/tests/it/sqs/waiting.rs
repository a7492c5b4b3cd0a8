//! Long polls: how they wake, end and lose their client.

use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use tokio::task::JoinSet;

use super::{cloud_with_queue, receive, send};
use crate::cloud::{Cloud, eventually, get};

async fn receive_bodies(sqs: Client, url: String, wait_seconds: i32) -> Vec<String> {
    let received = receive(&sqs, &url, wait_seconds).await;
    received.into_iter().filter_map(|one| one.body).collect()
}

/// Waits until `count` receives wait.
async fn until_waiting(cloud: &Cloud, count: usize) {
    let line = format!("localcloud_sqs_waiting_receives {count}");
    eventually(&line, || async {
        let (_, metrics) = get(&cloud.endpoint, "/metrics").await;
        metrics.lines().any(|one| one == line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_send_wakes_a_long_poll() {
    let (cloud, sqs, url) = cloud_with_queue().await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let waiting = tokio::spawn(receive_bodies(sqs.clone(), url.clone(), 20));
        until_waiting(&cloud, 1).await;
        let sent = Instant::now();
        send(&sqs, &url, "now").await;
        assert_eq!(waiting.await.unwrap(), ["now"]);
        fastest = fastest.min(sent.elapsed());
    }
    assert!(
        fastest < Duration::from_millis(100),
        "the fastest of five took {fastest:?}"
    );
}

#[tokio::test]
async fn an_empty_long_poll_ends_at_its_deadline() {
    let (_cloud, sqs, url) = cloud_with_queue().await;
    let started = Instant::now();
    assert!(receive(&sqs, &url, 1).await.is_empty());
    assert!(started.elapsed() >= Duration::from_secs(1));
    // The queue's wait time is the default.
    let attribute = QueueAttributeName::ReceiveMessageWaitTimeSeconds;
    sqs.set_queue_attributes()
        .queue_url(&url)
        .attributes(attribute, "1")
        .send()
        .await
        .unwrap();
    let started = Instant::now();
    let received = sqs.receive_message().queue_url(&url).send().await;
    assert!(received.unwrap().messages().is_empty());
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn each_of_many_waiting_receives_gets_a_message() {
    let (cloud, sqs, url) = cloud_with_queue().await;
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        waiting.spawn(receive_bodies(sqs.clone(), url.clone(), 20));
    }
    until_waiting(&cloud, 20).await;
    let mut sent = Vec::new();
    for number in 0..20 {
        sent.push(format!("{number:02}"));
        send(&sqs, &url, &sent[number]).await;
    }
    let mut received: Vec<String> = waiting.join_all().await.concat();
    received.sort();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn a_message_that_reappears_wakes_a_receive_that_was_waiting_before() {
    let (cloud, sqs, url) = cloud_with_queue().await;
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        let (sqs, url) = (sqs.clone(), url.clone());
        waiting.spawn(async move {
            let receive = sqs
                .receive_message()
                .queue_url(url)
                .wait_time_seconds(20)
                .visibility_timeout(1);
            receive.send().await.unwrap().messages().len()
        });
    }
    until_waiting(&cloud, 2).await;
    let started = Instant::now();
    send(&sqs, &url, "twice").await;
    assert_eq!(waiting.join_all().await, [1, 1]);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "took {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_delayed_message_ends_a_long_poll_when_it_is_due() {
    let (cloud, sqs, url) = cloud_with_queue().await;
    let waiting = tokio::spawn(receive_bodies(sqs.clone(), url.clone(), 20));
    until_waiting(&cloud, 1).await;
    let started = Instant::now();
    sqs.send_message()
        .queue_url(&url)
        .message_body("later")
        .delay_seconds(1)
        .send()
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap(), ["later"]);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "took {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_client_that_disconnects_from_a_long_poll_takes_no_message() {
    let (cloud, _, url) = cloud_with_queue().await;
    for _ in 0..10 {
        // A separate client, whose connection closes with it.
        let disconnected = tokio::spawn(receive_bodies(cloud.sqs(), url.clone(), 20));
        until_waiting(&cloud, 1).await;
        disconnected.abort();
        assert!(disconnected.await.unwrap_err().is_cancelled());
        // The server learns of the disconnect later; a send before that would race it, as in AWS.
        until_waiting(&cloud, 0).await;
        let sqs = cloud.sqs();
        send(&sqs, &url, "kept").await;
        let received = receive_bodies(sqs, url.clone(), 0).await;
        assert_eq!(received, ["kept"]);
    }
}

#[tokio::test]
async fn deleting_a_queue_ends_its_long_polls_with_an_error() {
    let (cloud, sqs, url) = cloud_with_queue().await;
    let waiting = tokio::spawn(
        sqs.receive_message()
            .queue_url(&url)
            .wait_time_seconds(20)
            .send(),
    );
    until_waiting(&cloud, 1).await;
    sqs.delete_queue().queue_url(&url).send().await.unwrap();
    let error = waiting.await.unwrap().unwrap_err().into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
}

#[tokio::test]
async fn a_message_reappears_after_its_visibility_timeout() {
    let (_cloud, sqs, url) = cloud_with_queue().await;
    send(&sqs, &url, "a").await;
    let taken = Instant::now();
    let first = sqs
        .receive_message()
        .queue_url(&url)
        .visibility_timeout(1)
        .send()
        .await
        .unwrap();
    assert_eq!(first.messages().len(), 1);
    assert!(receive(&sqs, &url, 0).await.is_empty());
    let second = eventually("the message is back", || async {
        receive_bodies(sqs.clone(), url.clone(), 0).await.pop()
    });
    assert_eq!(second.await, "a");
    assert!(taken.elapsed() >= Duration::from_secs(1));
}
