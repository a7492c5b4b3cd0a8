//! Long polls: woken at once, ended in time, and harmless when their client goes away.

use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use tokio::task::JoinSet;

use crate::cloud::{Cloud, eventually, get};

async fn queue(sqs: &Client) -> String {
    sqs.create_queue()
        .queue_name("q")
        .send()
        .await
        .unwrap()
        .queue_url
        .unwrap()
}

async fn receive(sqs: Client, url: String, wait_seconds: i32) -> Vec<String> {
    let received = sqs
        .receive_message()
        .queue_url(url)
        .wait_time_seconds(wait_seconds)
        .send()
        .await
        .unwrap();
    received
        .messages()
        .iter()
        .map(|message| message.body().unwrap().to_owned())
        .collect()
}

/// Waits until so many receives wait.
async fn until_waiting(cloud: &Cloud, count: usize) {
    let line = format!("localcloud_sqs_waiting_receives {count}");
    eventually(&line, || async {
        let (_, metrics) = get(&cloud.endpoint, "/metrics").await;
        metrics.lines().any(|one| one == line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_long_poll_is_woken_at_once_by_a_send() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs).await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let waiting = tokio::spawn(receive(sqs.clone(), url.clone(), 20));
        until_waiting(&cloud, 1).await;
        let sent = Instant::now();
        sqs.send_message()
            .queue_url(&url)
            .message_body("now")
            .send()
            .await
            .unwrap();
        assert_eq!(waiting.await.unwrap(), ["now"]);
        fastest = fastest.min(sent.elapsed());
    }
    assert!(
        fastest < Duration::from_millis(100),
        "the fastest of five took {fastest:?}"
    );
}

#[tokio::test]
async fn an_empty_long_poll_ends_when_its_time_is_over() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs).await;
    let started = Instant::now();
    assert!(receive(sqs.clone(), url.clone(), 1).await.is_empty());
    assert!(started.elapsed() >= Duration::from_secs(1));
    // The queue's own wait holds where the call names none.
    let attribute = QueueAttributeName::ReceiveMessageWaitTimeSeconds;
    sqs.set_queue_attributes()
        .queue_url(&url)
        .attributes(attribute, "1")
        .send()
        .await
        .unwrap();
    let started = Instant::now();
    assert!(
        sqs.receive_message()
            .queue_url(&url)
            .send()
            .await
            .unwrap()
            .messages()
            .is_empty()
    );
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn many_who_wait_get_one_message_each() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs).await;
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        waiting.spawn(receive(sqs.clone(), url.clone(), 20));
    }
    until_waiting(&cloud, 20).await;
    let mut sent = Vec::new();
    for number in 0..20 {
        sent.push(format!("{number:02}"));
        sqs.send_message()
            .queue_url(&url)
            .message_body(format!("{number:02}"))
            .send()
            .await
            .unwrap();
    }
    let mut received: Vec<String> = waiting.join_all().await.concat();
    received.sort();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn a_message_that_becomes_visible_again_wakes_one_who_waited_before_it_was_taken() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs).await;
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
    sqs.send_message()
        .queue_url(&url)
        .message_body("twice")
        .send()
        .await
        .unwrap();
    assert_eq!(waiting.join_all().await, [1, 1]);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "took {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_delayed_message_ends_a_wait_when_it_is_due() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs).await;
    let waiting = tokio::spawn(receive(sqs.clone(), url.clone(), 20));
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
async fn a_client_that_hangs_up_in_a_long_poll_takes_no_message() {
    let cloud = Cloud::start().await;
    let url = queue(&cloud.sqs()).await;
    for _ in 0..10 {
        // A client of its own, so that its connection closes with it.
        let quitter = tokio::spawn(receive(cloud.sqs(), url.clone(), 20));
        until_waiting(&cloud, 1).await;
        quitter.abort();
        assert!(quitter.await.unwrap_err().is_cancelled());
        // The connection's end has to travel; a send right now would race it, as it would in AWS.
        until_waiting(&cloud, 0).await;
        let sqs = cloud.sqs();
        sqs.send_message()
            .queue_url(&url)
            .message_body("kept")
            .send()
            .await
            .unwrap();
        let received = receive(sqs.clone(), url.clone(), 0).await;
        assert_eq!(received, ["kept"]);
    }
}

#[tokio::test]
async fn waiting_on_a_queue_that_is_deleted_ends_with_an_error() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs).await;
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
async fn a_message_that_is_not_deleted_comes_back_after_its_visibility_timeout() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs).await;
    sqs.send_message()
        .queue_url(&url)
        .message_body("a")
        .send()
        .await
        .unwrap();
    let taken = Instant::now();
    let first = sqs
        .receive_message()
        .queue_url(&url)
        .visibility_timeout(1)
        .send()
        .await
        .unwrap();
    assert_eq!(first.messages().len(), 1);
    assert!(receive(sqs.clone(), url.clone(), 0).await.is_empty());
    let second = eventually("the message is back", || async {
        receive(sqs.clone(), url.clone(), 0).await.pop()
    });
    assert_eq!(second.await, "a");
    assert!(taken.elapsed() >= Duration::from_secs(1));
}
