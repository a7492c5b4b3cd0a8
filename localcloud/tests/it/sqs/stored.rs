//! SQS with a data folder: acknowledged calls survive restarts and kills of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
};
use localcloud::{Config, SyncPolicy};
use tokio::task::JoinSet;

use super::{attribute, delete, queue, send};
use crate::cloud::{Cloud, code, eventually, sdk, without_retries};
use crate::killed::{start_over, start_with};

async fn receive(sqs: &Client, queue: &str, visibility_timeout: i32) -> Vec<Message> {
    sqs.receive_message()
        .queue_url(queue)
        .max_number_of_messages(10)
        .visibility_timeout(visibility_timeout)
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap()
        .messages
        .unwrap_or_default()
}

#[tokio::test]
async fn queues_with_settings_and_tags_survive_a_restart() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    queue(&sqs, "dead").await;
    let policy =
        r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":3}"#;
    sqs.create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::VisibilityTimeout, "7")
        .attributes(QueueAttributeName::RedrivePolicy, policy)
        .tags("team", "faces")
        .tags("stage", "test")
        .send()
        .await
        .unwrap();
    let set = sqs.set_queue_attributes().queue_url("q");
    let set = set.attributes(QueueAttributeName::DelaySeconds, "2");
    set.send().await.unwrap();
    let untag = sqs.untag_queue().queue_url("q").tag_keys("stage");
    untag.send().await.unwrap();
    queue(&sqs, "gone").await;
    sqs.delete_queue().queue_url("gone").send().await.unwrap();
    let all = |sqs: Client| async move {
        let attributes = sqs.get_queue_attributes().queue_url("q");
        let attributes = attributes.attribute_names(QueueAttributeName::All);
        let attributes = attributes.send().await.unwrap().attributes.unwrap();
        let tags = sqs.list_queue_tags().queue_url("q").send().await;
        let urls = sqs.list_queues().send().await.unwrap().queue_urls.unwrap();
        let names = urls
            .iter()
            .map(|url| url.rsplit('/').next().unwrap().to_owned());
        (attributes, tags.unwrap().tags, names.collect::<Vec<_>>())
    };
    let before = all(sqs).await;
    assert_eq!(before.2, ["dead", "q"]);
    let cloud = Cloud::over(cloud.stop().await, Config::default()).await;
    assert_eq!(all(cloud.sqs()).await, before);
    cloud.stop().await;
}

#[tokio::test]
async fn messages_of_every_phase_survive_restarts_with_their_handles() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    queue(&sqs, "q").await;
    let text = MessageAttributeValue::builder()
        .data_type("String.kind")
        .string_value("photo")
        .build()
        .unwrap();
    let binary = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(Blob::new([0, 255, 1]))
        .build()
        .unwrap();
    for body in ["deleted", "in flight", "available \u{1F600}"] {
        sqs.send_message()
            .queue_url("q")
            .message_body(body)
            .message_attributes("kind", text.clone())
            .message_attributes("raw", binary.clone())
            .send()
            .await
            .unwrap();
    }
    let delayed = sqs.send_message().queue_url("q").message_body("delayed");
    delayed.delay_seconds(900).send().await.unwrap();
    let first = sqs.receive_message().queue_url("q").visibility_timeout(600);
    let first = first.message_system_attribute_names(MessageSystemAttributeName::All);
    let first = first.max_number_of_messages(2).send().await.unwrap();
    let [deleted, in_flight] = first.messages() else {
        panic!("{first:?}");
    };
    assert_eq!(deleted.body(), Some("deleted"));
    delete(&sqs, "q", deleted).await;

    let cloud = Cloud::over(cloud.stop().await, Config::default()).await;
    let sqs = cloud.sqs();
    for (name, value) in [
        (QueueAttributeName::ApproximateNumberOfMessages, "1"),
        (
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            "1",
        ),
        (QueueAttributeName::ApproximateNumberOfMessagesDelayed, "1"),
    ] {
        assert_eq!(attribute(&sqs, "q", name.clone()).await, value, "{name}");
    }
    let available = receive(&sqs, "q", 600).await;
    assert_eq!(available.len(), 1);
    assert_eq!(available[0].body(), Some("available \u{1F600}"));
    let attributes = available[0].message_attributes.as_ref().unwrap();
    assert_eq!(attributes["kind"], text);
    assert_eq!(attributes["raw"], binary);
    // A receipt handle from before the restart is still valid.
    let handle = in_flight.receipt_handle().unwrap();
    let change = sqs.change_message_visibility().queue_url("q");
    let change = change.receipt_handle(handle).visibility_timeout(0);
    change.send().await.unwrap();

    let cloud = Cloud::over(cloud.stop().await, Config::default()).await;
    let sqs = cloud.sqs();
    let again = receive(&sqs, "q", 0).await;
    assert_eq!(again.len(), 1);
    let [before, after] = [in_flight, &again[0]].map(|one| one.attributes.as_ref().unwrap());
    for name in [
        MessageSystemAttributeName::SentTimestamp,
        MessageSystemAttributeName::ApproximateFirstReceiveTimestamp,
    ] {
        assert_eq!(after[&name], before[&name], "{name}");
    }
    let receives = &after[&MessageSystemAttributeName::ApproximateReceiveCount];
    assert_eq!(receives, "2");
    delete(&sqs, "q", &again[0]).await;
    let cloud = Cloud::over(cloud.stop().await, Config::default()).await;
    assert!(receive(&cloud.sqs(), "q", 0).await.is_empty());
    cloud.stop().await;
}

#[tokio::test]
async fn dead_letters_and_purges_survive_a_restart() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    for name in ["dead", "purged"] {
        queue(&sqs, name).await;
    }
    let policy =
        r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":1}"#;
    sqs.create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::RedrivePolicy, policy)
        .send()
        .await
        .unwrap();
    for name in ["q", "purged"] {
        send(&sqs, name, "poison").await;
    }
    assert_eq!(receive(&sqs, "q", 0).await.len(), 1);
    assert!(receive(&sqs, "q", 0).await.is_empty());
    sqs.purge_queue().queue_url("purged").send().await.unwrap();

    let cloud = Cloud::over(cloud.stop().await, Config::default()).await;
    let sqs = cloud.sqs();
    assert!(receive(&sqs, "q", 0).await.is_empty());
    assert!(receive(&sqs, "purged", 0).await.is_empty());
    let dead = receive(&sqs, "dead", 0).await;
    assert_eq!(
        dead[0].attributes.as_ref().unwrap()[&MessageSystemAttributeName::DeadLetterQueueSourceArn],
        "arn:aws:sqs:us-east-1:000000000000:q"
    );
    let again = sqs.purge_queue().queue_url("purged").send().await;
    assert_eq!(
        code(again.unwrap_err()),
        "AWS.SimpleQueueService.PurgeQueueInProgress"
    );
    cloud.stop().await;
}

/// The messages that were certainly or possibly sent and deleted when the process was killed.
#[derive(Debug, Default)]
struct Ledger {
    sent: BTreeSet<String>,
    maybe_sent: BTreeSet<String>,
    deleted: BTreeSet<String>,
    maybe_deleted: BTreeSet<String>,
}

async fn send_until_killed(sqs: Client, client: String, ledger: Arc<Mutex<Ledger>>) {
    for number in 0.. {
        let body = format!("{client}-{number} {}", "x".repeat(number % 3000));
        ledger.lock().unwrap().maybe_sent.insert(body.clone());
        let sent = sqs.send_message().queue_url("q").message_body(&body).send();
        if sent.await.is_err() {
            return;
        }
        ledger.lock().unwrap().sent.insert(body);
    }
}

async fn receive_until_killed(sqs: Client, ledger: Arc<Mutex<Ledger>>) {
    loop {
        // Of each two messages it deletes one.
        let Ok(received) = sqs
            .receive_message()
            .queue_url("q")
            .max_number_of_messages(2)
            .visibility_timeout(0)
            .send()
            .await
        else {
            return;
        };
        let Some(message) = received.messages.unwrap_or_default().into_iter().next() else {
            continue;
        };
        let body = message.body.unwrap();
        ledger.lock().unwrap().maybe_deleted.insert(body.clone());
        let handle = message.receipt_handle.unwrap();
        let delete = sqs.delete_message().queue_url("q").receipt_handle(handle);
        if delete.send().await.is_err() {
            return;
        }
        ledger.lock().unwrap().deleted.insert(body);
    }
}

fn client(endpoint: &str) -> Client {
    // The SDK would retry after the kill.
    Client::new(&without_retries(&sdk(endpoint, "test")))
}

async fn check_acknowledged_calls_survive_sigkill(arguments: &[&str]) {
    let mut started = start_with("", arguments);
    queue(&client(&started.endpoint), "q").await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    // The same store is killed several times.
    for round in 0..4 {
        let sqs = client(&started.endpoint);
        let mut load = JoinSet::new();
        for number in 0..4 {
            load.spawn(send_until_killed(
                sqs.clone(),
                format!("{round}-{number}"),
                Arc::clone(&ledger),
            ));
        }
        // A second receiver would invalidate the handles, since the visibility timeout is 0.
        load.spawn(receive_until_killed(sqs, Arc::clone(&ledger)));
        let (sent, deleted) = {
            let ledger = ledger.lock().unwrap();
            (ledger.sent.len(), ledger.deleted.len())
        };
        eventually("the load is running", || async {
            let ledger = ledger.lock().unwrap();
            (ledger.sent.len() > sent + 300 && ledger.deleted.len() > deleted + 50).then_some(())
        })
        .await;
        let data = started.kill();
        load.join_all().await;
        started = start_over(data, "", arguments);
    }
    let sqs = client(&started.endpoint);
    let mut left = BTreeMap::new();
    loop {
        let received = receive(&sqs, "q", 3600).await;
        if received.is_empty() {
            break;
        }
        for message in received {
            let twice = left.insert(message.body.unwrap(), message.message_id.unwrap());
            assert_eq!(twice, None);
        }
    }
    let ledger = ledger.lock().unwrap();
    for body in ledger.sent.difference(&ledger.maybe_deleted) {
        assert!(left.contains_key(body), "lost: {body:.20}");
    }
    for body in left.keys() {
        assert!(!ledger.deleted.contains(body), "came back: {body:.20}");
        assert!(ledger.maybe_sent.contains(body), "never sent: {body:.20}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_calls_survive_sigkill_by_default() {
    check_acknowledged_calls_survive_sigkill(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_calls_survive_sigkill_under_every_policy() {
    check_acknowledged_calls_survive_sigkill(&["--sync", "never"]).await;
    check_acknowledged_calls_survive_sigkill(&["--sync", "always"]).await;
}

#[tokio::test]
async fn a_foreign_folder_is_refused_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("sqs")).unwrap();
    std::fs::write(data.path().join("sqs/notes.txt"), "not a store").unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        data: Some(data.path().to_owned()),
        sync: SyncPolicy::Never,
        ..Config::default()
    };
    let refused = localcloud::run(config, listener, std::future::pending()).await;
    let reason = refused.unwrap_err().to_string();
    assert!(reason.contains("is not an SQS store"), "{reason}");
}
