//! Fault injection.

use super::*;
use crate::faults::SqsFaults;

fn queues_with_faults(inject: impl FnOnce(&mut SqsFaults)) -> Queues {
    let mut faults = SqsFaults::default();
    inject(&mut faults);
    let mut queues = queues_with("q", []);
    queues.set_faults(faults, 1, START);
    send(&mut queues, "q", "a", START);
    queues
}

fn receive_one(queues: &mut Queues, now: Millis) -> Option<Delivery> {
    queues
        .receive("q", 1, Some(30), now)
        .unwrap()
        .deliveries
        .pop()
}

#[test]
fn a_duplicate_goes_to_another_receiver_and_both_receives_count() {
    let mut queues = queues_with_faults(|faults| faults.duplicate = 1.0);
    let first = receive_one(&mut queues, START).unwrap();
    let queue = queues.queue("q").unwrap();
    let counts = queue.counts_at(START);
    assert_eq!((counts.available, counts.in_flight), (0, 1));
    // The first receiver can still extend the visibility timeout.
    queue
        .change_visibility(&first.receipt_handle, 60, START)
        .unwrap();
    let second = receive_one(&mut queues, START).unwrap();
    assert_eq!(second.message, first.message);
    assert_eq!((first.receive_count, second.receive_count), (1, 2));
    let queue = queues.queue("q").unwrap();
    queue.delete(&first.receipt_handle, START).unwrap();
    assert_eq!(
        queue.counts_at(START).in_flight,
        1,
        "the latest handle deletes"
    );
    queue.delete(&second.receipt_handle, START).unwrap();
    assert_eq!(receive_one(&mut queues, START + 3600 * SECOND), None);
}

#[test]
fn the_first_receiver_can_delete_an_unreceived_duplicate() {
    let mut queues = queues_with_faults(|faults| faults.duplicate = 1.0);
    let first = receive_one(&mut queues, START).unwrap();
    queues
        .queue("q")
        .unwrap()
        .delete(&first.receipt_handle, START)
        .unwrap();
    assert_eq!(receive_one(&mut queues, START), None);
}

#[test]
fn one_receive_never_returns_a_message_twice() {
    let mut queues = queues_with_faults(|faults| faults.duplicate = 1.0);
    let received = queues.receive("q", 10, Some(30), START).unwrap();
    assert_eq!(received.deliveries.len(), 1);
}

#[test]
fn a_deleted_message_comes_back_once_after_its_visibility_timeout() {
    let mut queues = queues_with_faults(|faults| faults.deliver_after_delete = 1.0);
    let first = receive_one(&mut queues, START).unwrap();
    let queue = queues.queue("q").unwrap();
    queue.delete(&first.receipt_handle, START).unwrap();
    let counts = queue.counts_at(START);
    assert_eq!((counts.available, counts.in_flight), (0, 0));
    // To clients the message is gone.
    assert!(matches!(
        queue.change_visibility(&first.receipt_handle, 60, START),
        Err(SqsError::InvalidParameterValue(_))
    ));
    queue.delete(&first.receipt_handle, START).unwrap();
    assert_eq!(receive_one(&mut queues, START + 30 * SECOND - 1), None);
    let back = receive_one(&mut queues, START + 30 * SECOND).unwrap();
    assert_eq!(back.message, first.message);
    assert_eq!(back.receive_count, 2);
    queues
        .queue("q")
        .unwrap()
        .delete(&back.receipt_handle, START + 31 * SECOND)
        .unwrap();
    assert_eq!(receive_one(&mut queues, START + 3600 * SECOND), None);
}

#[test]
fn counters_lag() {
    let mut queues = queues_with_faults(|faults| faults.counter_lag_ms = 10_000);
    receive_one(&mut queues, START + 5 * SECOND).unwrap();
    let seen = [0, 9, 10, 14, 15, 44, 45].map(|seconds| {
        let now = START + seconds * SECOND;
        let counts = queues.queue("q").unwrap().counts_at(now);
        (seconds, counts.available, counts.in_flight)
    });
    assert_eq!(
        seen,
        [
            (0, 0, 0),
            (9, 0, 0),
            (10, 1, 0),
            (14, 1, 0),
            (15, 0, 1),
            (44, 0, 1),
            (45, 1, 0),
        ]
    );
}

#[test]
fn the_counter_history_is_bounded() {
    let mut queues = queues_with_faults(|faults| faults.counter_lag_ms = 60_000);
    for millisecond in 0..200_000 {
        send(&mut queues, "q", "b", START + millisecond);
    }
    // One message was sent in each millisecond.
    let counted = queues.queue("q").unwrap().counts_at(START + 199_999);
    let off_by = counted.available.abs_diff(140_000);
    assert!(off_by <= 100, "{counted:?}");
    assert!(queues.queue("q").unwrap().counter_history_length() <= 602);
}

#[test]
fn other_queues_do_not_change_the_faults_of_a_seed() {
    let faults = SqsFaults {
        duplicate: 0.5,
        empty_receive: 0.5,
        ..SqsFaults::default()
    };
    let run = |seed: u64, others: bool| {
        let mut queues = queues_with("q", []);
        queues
            .create_queue("other", &AttributeMap::new(), AttributeMap::new(), START)
            .unwrap();
        queues.set_faults(faults, seed, START);
        send(&mut queues, "q", "a", START);
        let mut seen = Vec::new();
        for round in 0..64 {
            if others {
                send(&mut queues, "other", "b", START);
                queues.receive("other", 1, Some(0), START).unwrap();
            }
            let missed = queues.queue("q").unwrap().short_poll_misses();
            let now = START + round * SECOND;
            let received = queues.receive("q", 1, Some(2), now).unwrap();
            seen.push((missed, received.deliveries.len()));
        }
        seen
    };
    assert_eq!(run(1, false), run(1, true));
    assert_ne!(run(1, false), run(2, false));
    let missed = run(1, false).iter().filter(|(missed, _)| *missed).count();
    assert!((10..54).contains(&missed), "{missed}");
}

#[test]
fn setting_faults_restarts_their_random_streams() {
    let faults = SqsFaults {
        empty_receive: 0.5,
        ..SqsFaults::default()
    };
    let mut queues = queues_with("q", []);
    let mut draw = |faults| {
        queues.set_faults(faults, 3, START);
        [(); 32].map(|()| queues.queue("q").unwrap().short_poll_misses())
    };
    let first = draw(faults);
    assert_eq!(draw(faults), first);
    assert_eq!(draw(SqsFaults::default()), [false; 32]);
}
