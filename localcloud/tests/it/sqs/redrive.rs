//! Dead-letter queues and message move tasks.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{attribute, available, delete, queue, send};
use crate::cloud::{Cloud, code, eventually};
use crate::iam::cloud_with_role;

async fn arn(sqs: &Client, url: &str) -> String {
    attribute(sqs, url, QueueAttributeName::QueueArn).await
}

async fn set(sqs: &Client, url: &str, name: QueueAttributeName, value: &str) -> Result<(), String> {
    let set = sqs.set_queue_attributes().queue_url(url);
    let set = set.attributes(name, value).send().await;
    set.map(drop).map_err(code)
}

/// A queue with a receive limit, and its dead-letter queue.
async fn queue_with_dead_letters(sqs: &Client, limit: u32) -> (String, String) {
    let dead = queue(sqs, "dead").await;
    let url = queue(sqs, "q").await;
    let arn = arn(sqs, &dead).await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{limit}}}"#);
    let name = QueueAttributeName::RedrivePolicy;
    set(sqs, &url, name, &policy).await.unwrap();
    (url, dead)
}

/// Sends messages and receives them until they are in the dead-letter queue.
async fn fill_dead_letters(sqs: &Client, url: &str, dead: &str, count: usize) {
    for number in 0..count {
        send(sqs, url, &number.to_string()).await;
    }
    eventually("all messages are dead", || async {
        let receive = sqs.receive_message().queue_url(url).visibility_timeout(0);
        receive.max_number_of_messages(10).send().await.unwrap();
        (available(sqs, dead).await == count.to_string()).then_some(())
    })
    .await;
}

/// Receives and deletes a number of messages, and returns their bodies.
async fn drain(sqs: &Client, url: &str, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let receive = sqs.receive_message().queue_url(url).wait_time_seconds(20);
        let received = receive.max_number_of_messages(10).send().await.unwrap();
        assert!(!received.messages().is_empty(), "only {bodies:?} came");
        for message in received.messages() {
            bodies.push(message.body().unwrap().to_owned());
            delete(sqs, url, message).await;
        }
    }
    bodies.sort();
    bodies
}

#[tokio::test]
async fn after_the_receive_limit_a_message_is_in_the_dead_letter_queue() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let (url, dead) = queue_with_dead_letters(&sqs, 5).await;
    send(&sqs, &url, "poison").await;
    for round in 1..=5 {
        let received = sqs.receive_message().queue_url(&url).visibility_timeout(0);
        let received = received
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .unwrap();
        let attributes = received.messages()[0].attributes().unwrap();
        assert_eq!(
            attributes[&MessageSystemAttributeName::ApproximateReceiveCount],
            round.to_string()
        );
    }
    // The receive that moves the message wakes a receive that waits on the dead-letter queue.
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
        (available(&sqs, &url).await == "0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_queue_restricts_its_sources() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let [dead, allowed, denied] = ["dead", "allowed", "denied"];
    for name in [dead, allowed, denied] {
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
        &format!(r#","sourceQueueArns":["{}"]"#, arn(&sqs, allowed).await),
    );
    let refused = Err("InvalidParameterValue".to_owned());
    for (policy_of_target, of_allowed, of_denied) in [
        (by_queue.as_str(), Ok(()), refused.clone()),
        (&allow("denyAll", ""), refused.clone(), refused.clone()),
        (&allow("allowAll", ""), Ok(()), Ok(())),
        ("", Ok(()), Ok(())),
    ] {
        let name = QueueAttributeName::RedriveAllowPolicy;
        set(&sqs, dead, name, policy_of_target).await.unwrap();
        for (source, expected) in [(allowed, of_allowed), (denied, of_denied)] {
            let name = QueueAttributeName::RedrivePolicy;
            set(&sqs, source, name.clone(), "").await.unwrap();
            let result = set(&sqs, source, name, &policy).await;
            assert_eq!(result, expected, "{policy_of_target}");
        }
    }
    for invalid in [
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
        assert_eq!(set(&sqs, dead, name, invalid).await, refused, "{invalid}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_move_task_returns_messages_and_wakes_waiting_receives() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let (url, dead) = queue_with_dead_letters(&sqs, 1).await;
    fill_dead_letters(&sqs, &url, &dead, 12).await;
    let source_arn = arn(&sqs, &dead).await;
    let waiting = {
        let (sqs, url) = (sqs.clone(), url.clone());
        tokio::spawn(async move { drain(&sqs, &url, 12).await })
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
async fn a_source_has_one_move_task_which_can_be_cancelled() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let (url, dead) = queue_with_dead_letters(&sqs, 1).await;
    fill_dead_letters(&sqs, &url, &dead, 20).await;
    let elsewhere = queue(&sqs, "elsewhere").await;
    let source_arn = arn(&sqs, &dead).await;
    let start = || {
        sqs.start_message_move_task()
            .source_arn(&source_arn)
            .max_number_of_messages_per_second(1)
    };
    let started = start().destination_arn(arn(&sqs, &elsewhere).await);
    let handle = started.send().await.unwrap().task_handle.unwrap();
    let unsupported = "AWS.SimpleQueueService.UnsupportedOperation";
    assert_eq!(code(start().send().await.unwrap_err()), unsupported);
    assert_eq!(drain(&sqs, &elsewhere, 1).await.len(), 1);
    let cancel = || sqs.cancel_message_move_task().task_handle(&handle).send();
    let moved = cancel().await.unwrap().approximate_number_of_messages_moved as usize;
    assert!((1..20).contains(&moved), "{moved} moved at one per second");
    assert_eq!(code(cancel().await.unwrap_err()), unsupported);
    drain(&sqs, &elsewhere, moved - 1).await;
    let left = available(&sqs, &dead).await;
    assert_eq!(left.parse::<usize>().unwrap(), 20 - moved);
    cloud.stop().await;
}

#[tokio::test]
async fn a_role_cancels_move_tasks_of_its_own_queues_only() {
    let policy = r#"{"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sqs:*", "Resource": "arn:aws:sqs:us-east-1:000000000000:dead"
    }]}"#;
    let (cloud, role) = cloud_with_role(policy).await;
    let (sqs, role) = (cloud.sqs(), Client::new(&role));
    let (url, dead) = queue_with_dead_letters(&sqs, 1).await;
    fill_dead_letters(&sqs, &url, &dead, 20).await;
    let source_arn = arn(&sqs, &dead).await;
    let listed = role.list_message_move_tasks().source_arn(&source_arn);
    assert!(listed.send().await.unwrap().results().is_empty());
    let start = sqs.start_message_move_task().source_arn(&source_arn);
    let started = start.max_number_of_messages_per_second(1).send().await;
    let handle = started.unwrap().task_handle.unwrap();
    let other = format!(r#"{{"taskId": "1", "sourceArn": "{source_arn}-2"}}"#);
    let cancel = role.cancel_message_move_task();
    let other = cancel.task_handle(STANDARD.encode(other)).send().await;
    assert_eq!(code(other.unwrap_err()), "AccessDenied");
    let cancel = role.cancel_message_move_task().task_handle(handle);
    cancel.send().await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn invalid_move_tasks_are_refused() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let (url, dead) = queue_with_dead_letters(&sqs, 1).await;
    let start = |source: &str| sqs.start_message_move_task().source_arn(source);
    let (source, dead) = (arn(&sqs, &url).await, arn(&sqs, &dead).await);
    let absent = format!("{dead}-absent");
    for (refused, expected) in [
        (start(&source), "InvalidParameterValue"),
        (start(&absent), "ResourceNotFoundException"),
        (
            start(&dead).destination_arn(&absent),
            "ResourceNotFoundException",
        ),
        (
            start(&dead).max_number_of_messages_per_second(501),
            "InvalidParameterValue",
        ),
    ] {
        assert_eq!(code(refused.send().await.unwrap_err()), expected);
    }
    let refused = sqs.cancel_message_move_task().task_handle("unknown");
    let refused = refused.send().await.unwrap_err();
    assert_eq!(code(refused), "ResourceNotFoundException");
    cloud.stop().await;
}
