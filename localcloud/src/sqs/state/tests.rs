#![allow(clippy::unwrap_used)]

mod disk;
mod faults;
mod histories;
mod model;
mod move_tasks;

use std::collections::BTreeMap;

use super::*;

const SECOND: Millis = 1000;
const START: Millis = 1_800_000_000_000;
const DEAD_ARN: &str = "arn:aws:sqs:us-east-1:000000000000:dead";

fn attributes<const N: usize>(pairs: [(&str, &str); N]) -> AttributeMap {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn queues_with<const N: usize>(name: &str, pairs: [(&str, &str); N]) -> Queues {
    let mut queues = Queues::new("us-east-1");
    queues
        .create_queue(name, &attributes(pairs), AttributeMap::new(), START)
        .unwrap();
    queues
}

fn send(queues: &mut Queues, queue: &str, body: &str, now: Millis) {
    queues
        .queue(queue)
        .unwrap()
        .send(Message::new(body, body), None, now);
}

fn receive_bodies(queues: &mut Queues, queue: &str, now: Millis) -> Vec<String> {
    let received = queues.receive(queue, 10, None, now).unwrap();
    received
        .deliveries
        .iter()
        .map(|delivery| delivery.message.body.clone())
        .collect()
}

fn receive_handle(queues: &mut Queues, visibility_seconds: Option<u32>, now: Millis) -> String {
    let received = queues.receive("q", 1, visibility_seconds, now).unwrap();
    received.deliveries[0].receipt_handle.clone()
}

/// Creates a queue `q` whose dead-letter queue is `dead`.
fn queues_with_dead_letters(receive_limit: u32, visibility_timeout: &str) -> Queues {
    let mut queues = queues_with("dead", []);
    let policy =
        format!(r#"{{"deadLetterTargetArn":"{DEAD_ARN}","maxReceiveCount":"{receive_limit}"}}"#);
    let settings = attributes([
        ("RedrivePolicy", &*policy),
        ("VisibilityTimeout", visibility_timeout),
    ]);
    queues
        .create_queue("q", &settings, AttributeMap::new(), START)
        .unwrap();
    queues
}

#[test]
fn a_received_message_is_hidden_for_its_visibility_timeout() {
    let mut queues = queues_with("q", [("VisibilityTimeout", "30")]);
    send(&mut queues, "q", "a", START);
    assert_eq!(receive_bodies(&mut queues, "q", START), ["a"]);
    assert_eq!(
        receive_bodies(&mut queues, "q", START + 30 * SECOND - 1),
        Vec::<String>::new()
    );
    let again = queues.receive("q", 1, None, START + 30 * SECOND).unwrap();
    assert_eq!(again.deliveries[0].receive_count, 2);
    assert_eq!(again.deliveries[0].first_received, START);
    assert_eq!(again.deliveries[0].sent, START);
}

#[test]
fn messages_come_in_order_of_arrival_up_to_the_requested_number() {
    let mut queues = queues_with("q", []);
    for body in ["a", "b", "c"] {
        send(&mut queues, "q", body, START);
    }
    let received = queues.receive("q", 2, None, START).unwrap();
    let bodies: Vec<_> = received
        .deliveries
        .iter()
        .map(|delivery| delivery.message.body.as_str())
        .collect();
    assert_eq!(bodies, ["a", "b"]);
}

#[test]
fn a_delayed_message_is_hidden_and_counted_as_delayed() {
    let mut queues = queues_with("q", [("DelaySeconds", "5")]);
    send(&mut queues, "q", "a", START);
    let counted = queues.attributes("q", START).unwrap();
    assert_eq!(counted["ApproximateNumberOfMessagesDelayed"], "1");
    assert_eq!(counted["ApproximateNumberOfMessages"], "0");
    assert_eq!(
        receive_bodies(&mut queues, "q", START + 5 * SECOND - 1),
        Vec::<String>::new()
    );
    assert_eq!(
        queues.queue("q").unwrap().next_due(),
        Some(START + 5 * SECOND)
    );
    assert_eq!(receive_bodies(&mut queues, "q", START + 5 * SECOND), ["a"]);
    let counted = queues.attributes("q", START + 5 * SECOND).unwrap();
    assert_eq!(counted["ApproximateNumberOfMessagesDelayed"], "0");
    assert_eq!(counted["ApproximateNumberOfMessagesNotVisible"], "1");
}

#[test]
fn the_receive_after_the_limit_moves_a_message_to_the_dead_letter_queue() {
    let mut queues = queues_with_dead_letters(5, "30");
    send(&mut queues, "q", "poison", START);
    for round in 0..5 {
        assert_eq!(
            receive_bodies(&mut queues, "q", START + round * 30 * SECOND),
            ["poison"],
            "round {round}"
        );
    }
    let sixth = queues.receive("q", 1, None, START + 150 * SECOND).unwrap();
    assert!(sixth.deliveries.is_empty());
    assert_eq!(sixth.woken_dead_letter_queue.as_deref(), Some("dead"));
    let dead = queues
        .receive("dead", 1, None, START + 150 * SECOND)
        .unwrap();
    assert_eq!(dead.deliveries[0].message.message_id, "poison");
    assert_eq!(dead.deliveries[0].sent, START);
    assert_eq!(
        dead.deliveries[0].dead_letter_source_arn.as_deref(),
        Some("arn:aws:sqs:us-east-1:000000000000:q")
    );
    assert_eq!(
        queues.dead_letter_sources("dead").collect::<Vec<_>>(),
        ["q"]
    );
}

#[test]
fn the_handle_of_an_earlier_receive_deletes_nothing() {
    let mut queues = queues_with("q", []);
    send(&mut queues, "q", "a", START);
    let first = receive_handle(&mut queues, Some(1), START);
    let second = receive_handle(&mut queues, None, START + SECOND);
    let queue = queues.queue("q").unwrap();
    queue.delete(&first, START + SECOND).unwrap();
    assert_eq!(queue.counts_at(START + SECOND).in_flight, 1);
    queue.delete(&second, START + SECOND).unwrap();
    queue.delete(&second, START + SECOND).unwrap();
    assert_eq!(queue.counts_at(START + SECOND).in_flight, 0);
}

#[test]
fn receipt_handles_that_the_queue_never_issued_are_invalid() {
    let mut queues = queues_with("q", []);
    send(&mut queues, "q", "a", START);
    let handle = receive_handle(&mut queues, None, START);
    queues.delete_queue("q").unwrap();
    queues
        .create_queue("q", &AttributeMap::new(), AttributeMap::new(), START)
        .unwrap();
    for handle in [handle.as_str(), "", "not a handle", "AAAA"] {
        assert_eq!(
            queues.queue("q").unwrap().delete(handle, START),
            Err(SqsError::ReceiptHandleIsInvalid)
        );
    }
}

#[test]
fn visibility_can_be_changed_only_while_in_flight() {
    let mut queues = queues_with("q", []);
    send(&mut queues, "q", "a", START);
    let handle = receive_handle(&mut queues, Some(10), START);
    let queue = queues.queue("q").unwrap();
    queue
        .change_visibility(&handle, 60, START + 9 * SECOND)
        .unwrap();
    assert_eq!(queue.counts_at(START + 68 * SECOND).in_flight, 1);
    queue
        .change_visibility(&handle, 0, START + 68 * SECOND)
        .unwrap();
    assert_eq!(queue.counts_at(START + 68 * SECOND).available, 1);
    assert_eq!(
        queue.change_visibility(&handle, 5, START + 68 * SECOND),
        Err(SqsError::MessageNotInflight)
    );
    queue.delete(&handle, START + 68 * SECOND).unwrap();
    assert!(matches!(
        queue.change_visibility(&handle, 5, START + 68 * SECOND),
        Err(SqsError::InvalidParameterValue(_))
    ));
}

#[test]
fn messages_past_retention_are_gone_in_every_phase() {
    let mut queues = queues_with("q", [("MessageRetentionPeriod", "60")]);
    for body in ["available", "in flight"] {
        send(&mut queues, "q", body, START);
    }
    queues.receive("q", 1, Some(1000), START).unwrap();
    let counts = queues.queue("q").unwrap().counts_at(START + 60 * SECOND);
    assert_eq!(
        (counts.available, counts.in_flight, counts.delayed),
        (0, 0, 0)
    );
}

#[test]
fn a_queue_can_be_purged_once_a_minute() {
    let mut queues = queues_with("q", []);
    send(&mut queues, "q", "a", START);
    let queue = queues.queue("q").unwrap();
    queue.purge(START).unwrap();
    assert_eq!(queue.counts_at(START).available, 0);
    assert!(matches!(
        queue.purge(START + 59 * SECOND),
        Err(SqsError::PurgeQueueInProgress(_))
    ));
    queue.purge(START + 60 * SECOND).unwrap();
}

#[test]
fn creating_a_queue_again_needs_the_same_attributes() {
    let mut queues = queues_with("q", [("VisibilityTimeout", "40")]);
    for same in [
        attributes([]),
        attributes([("VisibilityTimeout", "40")]),
        attributes([("DelaySeconds", "0")]),
    ] {
        assert_eq!(
            queues.create_queue("q", &same, AttributeMap::new(), START),
            Ok(())
        );
    }
    let other = attributes([("VisibilityTimeout", "41")]);
    assert_eq!(
        queues.create_queue("q", &other, AttributeMap::new(), START),
        Err(SqsError::QueueNameExists("VisibilityTimeout".to_owned()))
    );
}

#[test]
fn names_and_attributes_out_of_bounds_are_refused() {
    let mut queues = Queues::new("us-east-1");
    let mut refusal = |name: &str, pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        queues
            .create_queue(name, &pairs.collect(), AttributeMap::new(), START)
            .unwrap_err()
    };
    for name in ["", "a.b", "a b", "orders.fifo", &"x".repeat(81)] {
        let refused = refusal(name, &[]);
        assert!(
            matches!(refused, SqsError::InvalidParameterValue(_)),
            "{name:?}: {refused:?}"
        );
    }
    for (name, value) in [
        ("MaximumMessageSize", "1023"),
        ("MaximumMessageSize", "1048577"),
        ("DelaySeconds", "901"),
        ("VisibilityTimeout", "43201"),
        ("VisibilityTimeout", "soon"),
        ("MessageRetentionPeriod", "59"),
        ("ReceiveMessageWaitTimeSeconds", "21"),
    ] {
        let expected = SqsError::InvalidAttributeValue(name.to_owned());
        assert_eq!(refusal("q", &[(name, value)]), expected, "{value}");
    }
    assert_eq!(
        refusal("q", &[("Color", "red")]),
        SqsError::InvalidAttributeName("Color".to_owned())
    );
    for policy in [
        "no json",
        r#"{"maxReceiveCount":5}"#,
        r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:absent","maxReceiveCount":5}"#,
        r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:absent","maxReceiveCount":0}"#,
    ] {
        let refused = refusal("q", &[("RedrivePolicy", policy)]);
        assert!(
            matches!(refused, SqsError::InvalidParameterValue(_)),
            "{policy}: {refused:?}"
        );
    }
}

#[test]
fn a_message_is_hidden_for_twelve_hours_since_its_receive_at_most() {
    let mut queues = queues_with("q", []);
    send(&mut queues, "q", "a", START);
    let handle = receive_handle(&mut queues, Some(60), START);
    let queue = queues.queue("q").unwrap();
    queue.change_visibility(&handle, 43_200, START).unwrap();
    let later = START + 3 * SECOND;
    let refused = queue.change_visibility(&handle, 43_200, later);
    assert!(
        matches!(refused, Err(SqsError::InvalidParameterValue(_))),
        "{refused:?}"
    );
    queue.change_visibility(&handle, 43_197, later).unwrap();
    // The next receive counts anew.
    queue.change_visibility(&handle, 0, later).unwrap();
    let handle = receive_handle(&mut queues, Some(60), later);
    let queue = queues.queue("q").unwrap();
    queue.change_visibility(&handle, 43_200, later).unwrap();
}

#[test]
fn a_dead_letter_keeps_its_times() {
    let mut queues = queues_with_dead_letters(1, "0");
    send(&mut queues, "q", "poison", START);
    assert_eq!(receive_bodies(&mut queues, "q", START + SECOND), ["poison"]);
    assert_eq!(
        receive_bodies(&mut queues, "q", START + 2 * SECOND),
        Vec::<String>::new()
    );
    let dead = queues.receive("dead", 1, None, START + 3 * SECOND).unwrap();
    assert_eq!(dead.deliveries[0].sent, START);
    assert_eq!(dead.deliveries[0].first_received, START + SECOND);
    assert_eq!(dead.deliveries[0].receive_count, 1);
}

/// The expected digest comes from an independent implementation.
#[test]
fn attribute_digests_follow_the_developer_guide() {
    let text = |value: &str| AttributeValue::Text(value.to_owned());
    let attribute = |name: &str, data_type: &str, value| {
        let data_type = data_type.to_owned();
        (name.to_owned(), MessageAttribute { data_type, value })
    };
    let attributes = BTreeMap::from([
        attribute("count", "Number", text("42")),
        attribute("kind", "String", text("photo")),
        attribute("raw", "Binary", AttributeValue::Binary(vec![0, 1, 2])),
    ]);
    assert_eq!(
        attributes_md5_hex(&attributes),
        "86782d0705c88cf85849e5f44e9017ee"
    );
}
