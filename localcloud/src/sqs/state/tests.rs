#![allow(clippy::unwrap_used)]

mod disk;
mod histories;
mod model;
mod moves;
mod unkind;

use std::collections::BTreeMap;

use super::*;

const SECOND: Millis = 1000;
const START: Millis = 1_800_000_000_000;

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
        .send(NewMessage::new(body, body), None, now);
}

fn receive_bodies(queues: &mut Queues, queue: &str, now: Millis) -> Vec<String> {
    let received = queues.receive(queue, 10, None, now).unwrap();
    received
        .deliveries
        .iter()
        .map(|delivery| delivery.message.body.clone())
        .collect()
}

#[test]
fn a_received_message_is_hidden_for_its_visibility_timeout_and_then_comes_back() {
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
fn messages_come_in_order_of_arrival_and_at_most_as_many_as_asked_for() {
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
fn a_delayed_message_waits_and_is_counted_as_delayed() {
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
fn a_message_received_five_times_goes_to_the_dead_letter_queue_instead_of_a_sixth_receiver() {
    let mut queues = queues_with("dead", []);
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"5"}"#;
    queues
        .create_queue(
            "q",
            &attributes([("RedrivePolicy", policy)]),
            AttributeMap::new(),
            START,
        )
        .unwrap();
    send(&mut queues, "q", "poison", START);
    for turn in 0..5 {
        assert_eq!(
            receive_bodies(&mut queues, "q", START + turn * 30 * SECOND),
            ["poison"],
            "turn {turn}"
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
    let first = queues
        .receive("q", 1, Some(1), START)
        .unwrap()
        .deliveries
        .remove(0)
        .receipt_handle;
    let second = queues
        .receive("q", 1, None, START + SECOND)
        .unwrap()
        .deliveries
        .remove(0)
        .receipt_handle;
    let queue = queues.queue("q").unwrap();
    queue.delete(&first, START + SECOND).unwrap();
    assert_eq!(queue.counts_at(START + SECOND).in_flight, 1);
    queue.delete(&second, START + SECOND).unwrap();
    queue.delete(&second, START + SECOND).unwrap();
    assert_eq!(queue.counts_at(START + SECOND).in_flight, 0);
}

#[test]
fn handles_that_the_queue_never_gave_out_are_invalid() {
    let mut queues = queues_with("q", []);
    send(&mut queues, "q", "a", START);
    let handle = queues
        .receive("q", 1, None, START)
        .unwrap()
        .deliveries
        .remove(0)
        .receipt_handle;
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
    let handle = queues
        .receive("q", 1, Some(10), START)
        .unwrap()
        .deliveries
        .remove(0)
        .receipt_handle;
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
fn messages_past_retention_are_gone_whatever_their_phase() {
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
fn purging_empties_the_queue_once_a_minute() {
    let mut queues = queues_with("q", []);
    send(&mut queues, "q", "a", START);
    let queue = queues.queue("q").unwrap();
    queue.purge("q", START).unwrap();
    assert_eq!(queue.counts_at(START).available, 0);
    assert!(matches!(
        queue.purge("q", START + 59 * SECOND),
        Err(SqsError::PurgeQueueInProgress(_))
    ));
    queue.purge("q", START + 60 * SECOND).unwrap();
}

#[test]
fn creating_a_queue_again_is_fine_only_with_the_same_attributes() {
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
    let long_name = "x".repeat(81);
    for name in ["", "a.b", "a b", "orders.fifo", long_name.as_str()] {
        let refused = queues.create_queue(name, &AttributeMap::new(), AttributeMap::new(), START);
        assert!(
            matches!(refused, Err(SqsError::InvalidParameterValue(_))),
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
        let refused = queues.create_queue(
            "q",
            &attributes([(name, value)]),
            AttributeMap::new(),
            START,
        );
        assert_eq!(
            refused,
            Err(SqsError::InvalidAttributeValue(name.to_owned())),
            "{value}"
        );
    }
    let unknown = queues.create_queue(
        "q",
        &attributes([("Colour", "red")]),
        AttributeMap::new(),
        START,
    );
    assert_eq!(
        unknown,
        Err(SqsError::InvalidAttributeName("Colour".to_owned()))
    );
    for policy in [
        "no json",
        r#"{"maxReceiveCount":5}"#,
        r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:absent","maxReceiveCount":5}"#,
        r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:absent","maxReceiveCount":0}"#,
    ] {
        let refused = queues.create_queue(
            "q",
            &attributes([("RedrivePolicy", policy)]),
            AttributeMap::new(),
            START,
        );
        assert!(
            matches!(refused, Err(SqsError::InvalidParameterValue(_))),
            "{policy}: {refused:?}"
        );
    }
}

/// The example of the AWS documentation's algorithm, computed with an independent implementation.
#[test]
fn attribute_digests_follow_the_developer_guide() {
    let text = |value: &str| AttributeValue::Text(value.to_owned());
    let attributes = BTreeMap::from([
        (
            "count".to_owned(),
            MessageAttribute {
                data_type: "Number".to_owned(),
                value: text("42"),
            },
        ),
        (
            "kind".to_owned(),
            MessageAttribute {
                data_type: "String".to_owned(),
                value: text("photo"),
            },
        ),
        (
            "raw".to_owned(),
            MessageAttribute {
                data_type: "Binary".to_owned(),
                value: AttributeValue::Binary(vec![0, 1, 2]),
            },
        ),
    ]);
    assert_eq!(
        attributes_md5_hex(&attributes),
        "86782d0705c88cf85849e5f44e9017ee"
    );
}
