//! Message move tasks, step by step.

use super::*;
use crate::sqs::state::move_tasks::MoveStep;

/// Creates a queue `q` with a receive limit of 1, and `count` messages in its dead-letter queue.
fn with_dead(count: usize) -> Queues {
    let mut queues = queues_with_dead_letters(1, "0");
    for number in 0..count {
        send(&mut queues, "q", &number.to_string(), START);
    }
    while available(&mut queues, "dead", START) < count {
        receive_bodies(&mut queues, "q", START);
    }
    queues
}

fn available(queues: &mut Queues, name: &str, now: Millis) -> usize {
    queues.queue(name).unwrap().available_at(now)
}

fn start(queues: &mut Queues, destination: Option<&str>, rate: Option<u32>) {
    queues
        .start_move(DEAD_ARN, destination, rate, "task", START)
        .unwrap();
}

fn step(queues: &mut Queues, now: Millis) -> MoveStep {
    let mut drawn = 0;
    queues.move_some("task", now, || {
        drawn += 1;
        format!("new-{drawn}")
    })
}

fn task(queues: &Queues) -> MoveTask {
    queues.moves_of(DEAD_ARN).unwrap().next().unwrap().clone()
}

#[test]
fn a_moved_message_is_a_new_one_in_its_source_queue() {
    let mut queues = with_dead(2);
    start(&mut queues, None, None);
    let moved = step(&mut queues, START + 5 * SECOND);
    assert_eq!(
        (moved.destinations, moved.next),
        (vec!["q".to_owned(); 2], None)
    );
    let received = queues.receive("q", 1, None, START + 6 * SECOND).unwrap();
    let delivery = &received.deliveries[0];
    assert_eq!(delivery.message.message_id, "new-1");
    assert_eq!(delivery.message.body, "0");
    assert_eq!(
        (delivery.receive_count, delivery.sent),
        (1, START + 5 * SECOND)
    );
    assert_eq!(task(&queues).status, MoveStatus::Completed);
}

#[test]
fn the_rate_limits_moves() {
    let mut queues = with_dead(30);
    start(&mut queues, None, Some(10));
    let mut now = START;
    for tenth in 1..=20 {
        let moved = step(&mut queues, now);
        assert_eq!(task(&queues).moved, tenth);
        assert_eq!(step(&mut queues, now).destinations, Vec::<String>::new());
        now = moved.next.unwrap();
        assert_eq!(now, START + tenth * 100);
    }
    // A late step catches up.
    step(&mut queues, START + 60 * SECOND);
    assert_eq!(available(&mut queues, "q", START + 60 * SECOND), 30);
}

#[test]
fn a_step_moves_at_most_100_messages() {
    let mut queues = with_dead(250);
    start(&mut queues, None, None);
    for left in [150, 50] {
        assert_eq!(step(&mut queues, START).next, Some(START));
        assert_eq!(available(&mut queues, "dead", START), left);
    }
    assert_eq!(step(&mut queues, START).next, None);
    assert_eq!(available(&mut queues, "q", START), 250);
}

#[test]
fn a_message_without_a_source_stays_and_the_task_fails() {
    let mut queues = with_dead(1);
    send(&mut queues, "dead", "direct", START);
    start(&mut queues, None, None);
    step(&mut queues, START);
    let failed = task(&queues);
    assert_eq!((failed.status, failed.moved), (MoveStatus::Failed, 1));
    assert_eq!(
        failed.failure_reason,
        Some("CouldNotDetermineMessageSource")
    );
    assert_eq!(receive_bodies(&mut queues, "dead", START), ["direct"]);
}

#[test]
fn a_cancelled_task_moves_no_more_messages() {
    let mut queues = with_dead(5);
    start(&mut queues, None, Some(1));
    step(&mut queues, START);
    assert_eq!(queues.cancel_move("task").unwrap(), 1);
    assert_eq!(step(&mut queues, START + 60 * SECOND), MoveStep::default());
    assert_eq!(available(&mut queues, "dead", START + 60 * SECOND), 4);
}

#[test]
fn a_task_with_its_source_as_destination_is_refused() {
    let mut queues = with_dead(1);
    let refused = queues.start_move(DEAD_ARN, Some(DEAD_ARN), None, "task", START);
    assert!(matches!(refused, Err(SqsError::InvalidParameterValue(_))));
}

#[test]
fn a_queue_without_its_dead_letter_queue_keeps_its_messages() {
    let mut queues = with_dead(0);
    send(&mut queues, "q", "a", START);
    queues.delete_queue("dead").unwrap();
    for _ in 0..3 {
        assert_eq!(receive_bodies(&mut queues, "q", START), ["a"]);
    }
    let settings = attributes([]);
    queues
        .create_queue("dead", &settings, AttributeMap::new(), START)
        .unwrap();
    assert_eq!(
        receive_bodies(&mut queues, "q", START),
        Vec::<String>::new()
    );
    assert_eq!(receive_bodies(&mut queues, "dead", START), ["a"]);
}
