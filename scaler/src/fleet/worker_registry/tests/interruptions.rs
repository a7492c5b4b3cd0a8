//! Notices that EC2 will end an instance.

use super::*;

#[test]
fn an_interrupted_worker_drains_and_is_cordoned() {
    let mut worker = Stream::of_worker(WorkerState::Busy);
    assert!(!worker.is_leaving());
    worker.interruption = NOTICE;
    worker.reports(WorkerState::Busy, 0);
    assert!(worker.is_leaving());
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(InstanceState::Draining))
    );
    // It cordons itself before the order reaches it.
    worker.reports(WorkerState::Cordoned, 0);
    assert_eq!(worker.state(), Some(InstanceState::Draining));
    assert!(!worker.mark_stopping(StopCause::Drained));
    worker.reports(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));
    assert!(worker.mark_stopping(StopCause::Drained));
}

#[test]
fn an_interrupted_worker_cannot_be_uncordoned() {
    let mut worker = Stream::of_interrupted(WorkerState::Cordoned, NOTICE);
    worker.uncordon();
    worker.reports(WorkerState::Cordoned, 1);
    worker.uncordon();
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(InstanceState::Cordoned))
    );
}

#[test]
fn an_uncordon_order_that_crosses_the_notice_is_reverted() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.cordon();
    worker.reports(WorkerState::Cordoned, 1);
    worker.uncordon();
    worker.interruption = NOTICE;
    worker.reports(WorkerState::Cordoned, 1);
    worker.reports(WorkerState::Cordoned, 2);
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((3, true)), Some(InstanceState::Draining))
    );
    worker.reports(WorkerState::Cordoned, 3);
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));
}

#[test]
fn a_notice_outlasts_streams_and_scalers() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.interruption = NOTICE;
    worker.reports(WorkerState::Cordoned, 0);
    worker.reports(WorkerState::Cordoned, 1);
    worker.reconnects();
    assert!(worker.is_leaving());
    assert_eq!(worker.state(), Some(InstanceState::Draining));
    worker.uncordon();
    worker.reports(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));

    let mut restarted = Stream::of_interrupted(WorkerState::Cordoned, NOTICE);
    assert!(restarted.is_leaving());
    assert_eq!(
        (restarted.order(), restarted.state()),
        (Some((1, true)), Some(InstanceState::Draining))
    );
    restarted.reports(WorkerState::Cordoned, 1);
    assert_eq!(restarted.state(), Some(InstanceState::Cordoned));
}

#[test]
fn a_worker_whose_notice_is_withdrawn_waits_to_be_uncordoned() {
    let mut worker = Stream::of_interrupted(WorkerState::Cordoned, NOTICE);
    worker.reports(WorkerState::Cordoned, 1);
    worker.interruption = None;
    worker.reports(WorkerState::Cordoned, 1);
    assert!(!worker.is_leaving());
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));
    worker.uncordon();
    assert_eq!(worker.order(), Some((2, false)));
}

#[test]
fn a_leaving_worker_whose_instance_could_not_be_stopped_drains() {
    let mut worker = Stream::of_interrupted(WorkerState::Busy, NOTICE);
    worker.now = worker.now.after(Duration::from_secs(60));
    assert!(worker.mark_stopping(StopCause::Silent));
    worker.workers.unmark_stopping(&worker.id, worker.now);
    assert_eq!(worker.state(), Some(InstanceState::Draining));
}
