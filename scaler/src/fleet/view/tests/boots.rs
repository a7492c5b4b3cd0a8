//! Failed boots.

use std::slice::from_ref;

use super::*;
use crate::plan::FailedBoots;

/// Starts the instances, lists them as running, and then as stopped.
fn start_and_die(view: &mut FleetView, ids: &[&str], from: u64) -> Option<FailedBoots> {
    let started: Vec<_> = ids.iter().map(|&id| InstanceId::from(id)).collect();
    let are = |state| {
        let numbered = ids.iter().zip(1..);
        let found = numbered.map(|(id, number)| found(id, &worker_instance(number), state));
        found.collect::<Vec<_>>()
    };
    view.starting(&started, at(from));
    view.described(are(PowerState::Running), at(from + 100));
    view.observe(at(from + 100), CallBackoff::default());
    view.described(are(PowerState::Stopped), at(from + 200));
    view.observe(at(from + 200), CallBackoff::default())
        .failed_boots
}

/// Launches an instance whose worker attends at once, and then terminates it.
fn start_and_attend(view: &mut FleetView, id: &str, from: u64) -> WorkerSession {
    view.launched(&[id.into()], at(from));
    let session = attend(&view.registry, &id.into(), WorkerState::Idle);
    view.observe(at(from + 100), CallBackoff::default());
    view.terminated(&[id.into()]);
    session
}

#[test]
fn starts_back_off_while_instances_stop_before_their_worker_is_ready() {
    let mut view = view();
    let holds: Vec<_> = (1..=8)
        .map(|round| {
            let ids = [1, 2, 3].map(|number| format!("i-{round}-{number}"));
            let ids = ids.each_ref().map(String::as_str);
            let failed = start_and_die(&mut view, &ids, round * 100_000);
            let failed = failed.expect("it is noticed");
            let hold = failed.held_until.since(at(round * 100_000 + 200)).as_secs();
            (failed.in_a_row, hold)
        })
        .collect();
    let expected = [1, 2, 4, 8, 16, 32, 60, 60];
    assert_eq!(holds, (1..=8).zip(expected).collect::<Vec<_>>());
}

/// Such instances keep running, so the scaler stops them.
#[test]
fn starts_back_off_while_no_worker_ever_attends() {
    let mut view = view();
    let is = |state| {
        let pair =
            [1, 2].map(|number| found(&format!("i-{number}"), &worker_instance(number), state));
        pair.to_vec()
    };
    let ids = ["i-1", "i-2"].map(InstanceId::from);
    let give_up_both = |view: &mut FleetView, from: u64| {
        view.starting(&ids, at(from));
        view.described(is(PowerState::Running), at(from + 100));
        view.observe(at(from + 100), CallBackoff::default());
        for (id, later) in ids.iter().zip([0, 500]) {
            view.giving_up(id);
            view.stopping(from_ref(id), at(from + 200 + later));
            view.observe(at(from + 200 + later), CallBackoff::default());
            view.stop_called(from_ref(id), at(from + 300 + later));
            view.boot_failed(id, at(from + 300 + later));
        }
        view.described(is(PowerState::Stopped), at(from + 900));
        let failed = view
            .observe(at(from + 900), CallBackoff::default())
            .failed_boots;
        let failed = failed.expect("it is noticed");
        let hold = failed.held_until.since(at(from + 300)).as_secs();
        (failed.in_a_row, hold)
    };
    let holds: Vec<_> = (1..=4)
        .map(|round| give_up_both(&mut view, round * 100_000))
        .collect();
    assert_eq!(holds, [(1, 1), (2, 2), (3, 4), (4, 8)]);
    let _session = start_and_attend(&mut view, "i-3", 600_000);
    assert_eq!(
        view.observe(at(601_000), CallBackoff::default())
            .failed_boots,
        None
    );
}

/// The reply to the call that stops it may be lost.
#[test]
fn an_instance_that_was_given_up_has_failed_once_it_is_listed_as_stopped() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    view.starting(from_ref(&id), at(0));
    let is = |state| vec![found("i-1", "app-tier-instance-1", state)];
    view.described(is(PowerState::Running), at(100));
    view.giving_up(&id);
    view.stopping(from_ref(&id), at(200));
    view.observe(at(200), CallBackoff::default());
    view.stop_called(from_ref(&id), at(300));
    view.described(is(PowerState::Stopped), at(400));
    let failed = view.observe(at(400), CallBackoff::default()).failed_boots;
    assert_eq!(failed.map(|failed| failed.in_a_row), Some(1));
}

#[test]
fn a_ready_worker_ends_the_backoff_of_starts() {
    let registry = WorkerRegistry::new(Clock::start());
    let mut view = view_of(&registry);
    assert!(start_and_die(&mut view, &["i-1"], 1_000).is_some());
    let id = InstanceId::from("i-1");
    view.starting(from_ref(&id), at(5_000));
    let _session = attend(&registry, &id, WorkerState::Idle);
    let running = found("i-1", "app-tier-instance-1", PowerState::Running);
    view.described(vec![running], at(5_100));
    let observation = view.observe(at(5_100), CallBackoff::default());
    assert_eq!(observation.failed_boots, None);
}

#[test]
fn an_instance_that_is_ordered_to_stop_while_booting_has_not_failed() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    let is = |state| vec![found("i-1", "app-tier-instance-1", state)];
    view.starting(from_ref(&id), at(0));
    view.described(is(PowerState::Running), at(100));
    view.stopping(from_ref(&id), at(200));
    states(&mut view, at(200));
    view.stop_called(&[id], at(300));
    view.described(is(PowerState::Stopped), at(400));
    let observation = view.observe(at(400), CallBackoff::default());
    assert_eq!(observation.count(InstanceState::Stopped), 1);
    assert_eq!(observation.failed_boots, None);
}

#[test]
fn an_instance_that_fails_to_boot_three_times_in_a_row_leaves_the_pool() {
    let mut view = view();
    let id = InstanceId::from("i-1");
    start_and_die(&mut view, &["i-1"], 100_000);
    let _session = start_and_attend(&mut view, "i-2", 150_000);
    start_and_die(&mut view, &["i-1"], 200_000);
    assert_eq!(view.broken(), []);
    assert!(view.is_last_attempt(&id));
    start_and_die(&mut view, &["i-1"], 300_000);
    assert_eq!(view.broken(), [id]);
    assert_eq!(states(&mut view, at(301_000)), []);
    // A scaler that may not terminate instances keeps it.
    view.keep_broken();
    assert_eq!(view.broken(), []);
    assert_eq!(
        states(&mut view, at(302_000)),
        [(Some(1), InstanceState::Stopped)]
    );
}

/// Such as a broken image, or an unreachable queue.
#[test]
fn a_fault_of_all_instances_does_not_empty_the_pool() {
    let mut view = view();
    // A success before the first failure says nothing.
    let _session = start_and_attend(&mut view, "i-9", 1_000);
    let pool = ["i-1", "i-2", "i-3"];
    for round in 1..=6 {
        start_and_die(&mut view, &pool, round * 100_000);
        assert_eq!(view.broken(), []);
        assert!(!view.is_last_attempt(&pool[0].into()));
    }
    assert_eq!(states(&mut view, at(700_000)).len(), 3);
}
