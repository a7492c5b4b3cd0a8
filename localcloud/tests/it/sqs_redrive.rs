//! Dead-letter queues and the way back.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};

use crate::cloud::{Cloud, code, eventually};
use crate::sqs::{attribute, queue};

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

async fn arn(sqs: &Client, url: &str) -> String {
    attribute(sqs, url, QueueAttributeName::QueueArn).await
}

async fn set(sqs: &Client, url: &str, name: QueueAttributeName, value: &str) -> Result<(), String> {
    let request = sqs
        .set_queue_attributes()
        .queue_url(url)
        .attributes(name, value);
    request.send().await.map(drop).map_err(code)
}

/// A queue whose messages die at their second receive, and its dead-letter queue.
async fn queue_with_dead_letters(sqs: &Client) -> (String, String) {
    let dead = queue(sqs, "dead").await;
    let url = queue(sqs, "q").await;
    let policy = format!(
        r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":1}}"#,
        arn(sqs, &dead).await
    );
    set(sqs, &url, QueueAttributeName::RedrivePolicy, &policy)
        .await
        .unwrap();
    (url, dead)
}

/// Sends so many messages and lets them die.
async fn let_die(sqs: &Client, url: &str, dead: &str, count: usize) {
    for number in 0..count {
        let send = sqs
            .send_message()
            .queue_url(url)
            .message_body(number.to_string());
        send.send().await.unwrap();
    }
    eventually("all are dead", || async {
        let receive = sqs.receive_message().queue_url(url).visibility_timeout(0);
        receive.max_number_of_messages(10).send().await.unwrap();
        let dead = attribute(sqs, dead, QueueAttributeName::ApproximateNumberOfMessages).await;
        (dead == count.to_string()).then_some(())
    })
    .await;
}

/// Receives and deletes until so many bodies came.
async fn drained(sqs: &Client, url: &str, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let receive = sqs.receive_message().queue_url(url).wait_time_seconds(20);
        let received = receive.max_number_of_messages(10).send().await.unwrap();
        assert!(!received.messages().is_empty(), "only {bodies:?} came");
        for message in received.messages() {
            bodies.push(message.body().unwrap().to_owned());
            let handle = message.receipt_handle().unwrap();
            let delete = sqs.delete_message().queue_url(url).receipt_handle(handle);
            delete.send().await.unwrap();
        }
    }
    bodies.sort();
    bodies
}

#[tokio::test]
async fn a_dead_letter_queue_chooses_whose_it_is() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let [dead, friend, stranger] = ["dead", "friend", "stranger"];
    for name in [dead, friend, stranger] {
        queue(&sqs, name).await;
    }
    let policy = format!(
        r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":3}}"#,
        arn(&sqs, dead).await
    );
    let allow = |permission: &str, sources: &str| {
        format!(r#"{{"redrivePermission":"{permission}"{sources}}}"#)
    };
    let by_queue = allow(
        "byQueue",
        &format!(r#","sourceQueueArns":["{}"]"#, arn(&sqs, friend).await),
    );
    let refused = Err("InvalidParameterValue".to_owned());
    for (allowed, of_friend, of_stranger) in [
        (by_queue.as_str(), Ok(()), refused.clone()),
        (&allow("denyAll", ""), refused.clone(), refused.clone()),
        (&allow("allowAll", ""), Ok(()), Ok(())),
        ("", Ok(()), Ok(())),
    ] {
        let name = QueueAttributeName::RedriveAllowPolicy;
        set(&sqs, dead, name, allowed).await.unwrap();
        for (source, expected) in [(friend, of_friend), (stranger, of_stranger)] {
            let name = QueueAttributeName::RedrivePolicy;
            set(&sqs, source, name.clone(), "").await.unwrap();
            assert_eq!(
                set(&sqs, source, name, &policy).await,
                expected,
                "{allowed}"
            );
        }
    }
    for nonsense in [
        "x",
        "{}",
        &allow("byQueue", ""),
        &allow("denyAll", r#","sourceQueueArns":["a"]"#),
        &allow(
            "byQueue",
            r#","sourceQueueArns":["1","2","3","4","5","6","7","8","9","10","11"]"#,
        ),
    ] {
        let name = QueueAttributeName::RedriveAllowPolicy;
        assert_eq!(set(&sqs, dead, name, nonsense).await, refused, "{nonsense}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn dead_messages_are_moved_back_and_wake_who_waits() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let (url, dead) = queue_with_dead_letters(&sqs).await;
    let_die(&sqs, &url, &dead, 12).await;
    let source_arn = arn(&sqs, &dead).await;
    let waiting = {
        let (sqs, url) = (sqs.clone(), url.clone());
        tokio::spawn(async move { drained(&sqs, &url, 12).await })
    };
    sqs.start_message_move_task()
        .source_arn(&source_arn)
        .send()
        .await
        .unwrap();
    let mut all: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    all.sort();
    assert_eq!(waiting.await.unwrap(), all);
    let listed = sqs.list_message_move_tasks().source_arn(&source_arn);
    let listed = listed.send().await.unwrap();
    let task = &listed.results()[0];
    assert_eq!(task.status(), Some("COMPLETED"));
    assert_eq!(task.approximate_number_of_messages_moved(), 12);
    assert_eq!(task.approximate_number_of_messages_to_move(), Some(12));
    assert_eq!(task.task_handle(), None, "it can no longer be cancelled");
    cloud.stop().await;
}

#[tokio::test]
async fn a_slow_move_is_the_only_one_and_can_be_cancelled() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let (url, dead) = queue_with_dead_letters(&sqs).await;
    let_die(&sqs, &url, &dead, 20).await;
    let elsewhere = queue(&sqs, "elsewhere").await;
    let source_arn = arn(&sqs, &dead).await;
    let start = || {
        sqs.start_message_move_task()
            .source_arn(&source_arn)
            .max_number_of_messages_per_second(1)
    };
    let started = start().destination_arn(arn(&sqs, &elsewhere).await);
    let handle = started.send().await.unwrap().task_handle.unwrap();
    assert_eq!(
        code(start().send().await.unwrap_err()),
        "AWS.SimpleQueueService.UnsupportedOperation"
    );
    assert_eq!(drained(&sqs, &elsewhere, 1).await.len(), 1);
    let cancel = || sqs.cancel_message_move_task().task_handle(&handle).send();
    let moved = cancel().await.unwrap().approximate_number_of_messages_moved as usize;
    assert!((1..20).contains(&moved), "{moved} moved at one a second");
    assert_eq!(
        code(cancel().await.unwrap_err()),
        "AWS.SimpleQueueService.UnsupportedOperation"
    );
    drained(&sqs, &elsewhere, moved - 1).await;
    let left = attribute(&sqs, &dead, QueueAttributeName::ApproximateNumberOfMessages).await;
    assert_eq!(left.parse::<usize>().unwrap(), 20 - moved);
    cloud.stop().await;
}

#[tokio::test]
async fn moves_need_a_dead_letter_queue_that_exists() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let (url, dead) = queue_with_dead_letters(&sqs).await;
    let start = |source: String| sqs.start_message_move_task().source_arn(source);
    let refused = start(arn(&sqs, &url).await).send().await.unwrap_err();
    assert_eq!(code(refused), "InvalidParameterValue");
    let dead = arn(&sqs, &dead).await;
    let refused = start(format!("{dead}-absent")).send().await.unwrap_err();
    assert_eq!(code(refused), "ResourceNotFoundException");
    let nowhere = start(dead.clone()).destination_arn(format!("{dead}-absent"));
    let refused = nowhere.send().await.unwrap_err();
    assert_eq!(code(refused), "ResourceNotFoundException");
    let too_fast = start(dead).max_number_of_messages_per_second(501);
    let refused = too_fast.send().await.unwrap_err();
    assert_eq!(code(refused), "InvalidParameterValue");
    let refused = sqs.cancel_message_move_task().task_handle("nonsense");
    let refused = refused.send().await.unwrap_err();
    assert_eq!(code(refused), "ResourceNotFoundException");
    cloud.stop().await;
}
