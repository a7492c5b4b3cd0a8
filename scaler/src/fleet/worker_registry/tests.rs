mod interruptions;

use std::time::Duration;

use proto::v1::worker_order::Order;
use proto::v1::{Interruption, WorkerOrder, WorkerReport, WorkerState};
use tokio::sync::watch;

use super::{SessionId, Workers};
use crate::fleet::fixtures::report;
use crate::plan::{InstanceId, InstanceState, StopCause, Timestamp};

const NOTICE: Option<Interruption> = Some(Interruption {
    action: 0,
    at: None,
});

/// One worker and its stream, with a clock that the test moves.
struct Stream {
    workers: Workers,
    id: InstanceId,
    session: SessionId,
    orders: watch::Receiver<Option<WorkerOrder>>,
    /// Part of its next reports.
    interruption: Option<Interruption>,
    now: Timestamp,
}

impl Stream {
    fn of_worker(state: WorkerState) -> Self {
        Self::of_interrupted(state, None)
    }

    fn of_interrupted(state: WorkerState, interruption: Option<Interruption>) -> Self {
        let (mut workers, id) = (Workers::default(), InstanceId::from("i-1"));
        let (sender, orders) = watch::channel(None);
        workers.admit([id.clone()]);
        let session = workers.join(&id, sender, Timestamp::default()).unwrap();
        let mut stream = Self {
            workers,
            id,
            session,
            orders,
            interruption,
            now: Timestamp::default(),
        };
        stream.reports(state, 0);
        stream
    }

    fn reports(&mut self, state: WorkerState, order_sequence: u64) {
        self.reports_completed(state, order_sequence, 0);
    }

    fn reports_completed(&mut self, state: WorkerState, order_sequence: u64, completed: u64) {
        self.now = self.now.after(Duration::from_millis(100));
        let report = WorkerReport {
            completed,
            order_sequence,
            interruption: self.interruption,
            ..report(&self.id, state)
        };
        self.workers
            .report(&self.session, &report, self.now)
            .expect("it is the newest stream");
    }

    fn reconnects(&mut self) {
        let (sender, orders) = watch::channel(None);
        let session = self.workers.join(&self.id, sender, self.now);
        (self.session, self.orders) = (session.unwrap(), orders);
    }

    fn state(&self) -> Option<InstanceState> {
        self.workers.get(&self.id).and_then(|worker| worker.state)
    }

    fn is_leaving(&self) -> bool {
        self.workers.get(&self.id).is_some_and(|it| it.leaving)
    }

    fn mark_stopping(&mut self, cause: StopCause) -> bool {
        self.workers
            .mark_stopping(&self.id, cause, self.now, self.now)
    }

    fn cordon(&mut self) {
        self.workers.cordon(&self.id, self.now);
    }

    fn uncordon(&mut self) {
        self.workers.uncordon(&self.id, self.now);
    }

    /// Returns the sequence of the newest order, and whether it is a cordon order.
    fn order(&self) -> Option<(u64, bool)> {
        let order = *self.orders.borrow();
        order.map(|order| {
            (
                order.sequence,
                matches!(order.order, Some(Order::Cordon(_))),
            )
        })
    }
}

#[test]
fn a_worker_is_cordoned_once_it_confirms_the_newest_order() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.cordon();
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(InstanceState::Draining))
    );
    worker.reports(WorkerState::Idle, 0);
    assert!(!worker.mark_stopping(StopCause::Drained));
    worker.reports(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));
    assert!(worker.mark_stopping(StopCause::Drained));
    assert_eq!(worker.state(), Some(InstanceState::Stopping));
}

#[test]
fn a_worker_that_received_a_message_meanwhile_drains_until_it_has_finished() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.cordon();
    worker.reports(WorkerState::Busy, 0);
    worker.reports(WorkerState::Busy, 1);
    assert_eq!(worker.state(), Some(InstanceState::Draining));
    assert!(!worker.mark_stopping(StopCause::Drained));
    worker.reports(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));
}

#[test]
fn a_confirmation_that_crossed_a_later_order_does_not_count() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.cordon();
    worker.uncordon();
    worker.cordon();
    assert_eq!(worker.order(), Some((3, true)));
    worker.reports(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(InstanceState::Draining));
    worker.reports(WorkerState::Busy, 2);
    worker.reports(WorkerState::Cordoned, 3);
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));
}

/// Otherwise a busy worker is stopped: EC2's notice causes a cordon order, and the report with the notice would
/// acknowledge that order.
#[test]
fn a_confirmation_of_an_order_that_was_never_sent_does_not_count() {
    let mut worker = Stream::of_worker(WorkerState::Busy);
    worker.interruption = NOTICE;
    worker.reports(WorkerState::Cordoned, 1);
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(InstanceState::Draining))
    );
    assert!(!worker.mark_stopping(StopCause::Drained));
    worker.reports(WorkerState::Busy, 0);
    assert_eq!(worker.state(), Some(InstanceState::Draining));
    // Nor does one of a later order.
    worker.reports(WorkerState::Cordoned, 2);
    assert_eq!(worker.state(), Some(InstanceState::Draining));
    worker.reports(WorkerState::Cordoned, 1);
    assert!(worker.mark_stopping(StopCause::Drained));
}

#[test]
fn a_confirmation_counts_only_on_the_newest_stream() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.cordon();
    worker.reports(WorkerState::Cordoned, 1);
    worker.reconnects();
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(InstanceState::Draining))
    );
    worker.reports(WorkerState::Cordoned, 0);
    assert_eq!(worker.state(), Some(InstanceState::Draining));
    worker.reports(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));
}

#[test]
fn an_order_waits_for_a_worker_that_has_not_attended_yet() {
    let (mut workers, id) = (Workers::default(), InstanceId::from("i-1"));
    workers.cordon(&id, Timestamp::default());
    let (sender, orders) = watch::channel(None);
    workers.admit([id.clone()]);
    let _session = workers.join(&id, sender, Timestamp::default()).unwrap();
    assert_eq!(orders.borrow().map(|order| order.sequence), Some(1));
}

#[test]
fn a_worker_that_an_earlier_scaler_cordoned_is_asked_to_confirm_it() {
    let mut worker = Stream::of_worker(WorkerState::Cordoned);
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(InstanceState::Draining))
    );
    worker.reports(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));
}

#[test]
fn a_worker_that_ignores_an_uncordon_order_gets_it_again() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.cordon();
    worker.reports(WorkerState::Cordoned, 1);
    worker.uncordon();
    worker.reports(WorkerState::Cordoned, 2);
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((2, false)), Some(InstanceState::Idle))
    );
    worker.now = worker.now.after(Duration::from_secs(1));
    worker.reports(WorkerState::Cordoned, 2);
    assert_eq!(worker.order(), Some((3, false)));
}

#[test]
fn the_newest_stream_counts() {
    let mut worker = Stream::of_worker(WorkerState::Busy);
    let old = worker.session.clone();
    worker.reconnects();
    assert_eq!(
        worker
            .workers
            .report(&old, &WorkerReport::default(), worker.now),
        None
    );
    worker.workers.leave(&old, worker.now);
    assert_eq!(worker.state(), Some(InstanceState::Busy));
    worker.reports(WorkerState::Idle, 0);
    assert_eq!(worker.state(), Some(InstanceState::Idle));
}

#[test]
fn a_worker_that_finished_a_job_between_two_reports_is_idle_anew() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.reports(WorkerState::Idle, 0);
    let since = worker.workers.get(&worker.id).map(|it| it.since);
    worker.reports(WorkerState::Idle, 0);
    assert_eq!(worker.workers.get(&worker.id).map(|it| it.since), since);
    worker.reports_completed(WorkerState::Idle, 0, 1);
    assert_eq!(
        worker.workers.get(&worker.id).map(|it| it.since),
        Some(worker.now)
    );
}

#[test]
fn a_report_saves_a_worker_from_being_given_up() {
    let mut worker = Stream::of_worker(WorkerState::Busy);
    let planned_at = worker.now;
    worker.reports(WorkerState::Busy, 0);
    assert!(
        !worker
            .workers
            .mark_stopping(&worker.id, StopCause::Silent, planned_at, worker.now)
    );
    assert!(!worker.mark_stopping(StopCause::NeverAttended));
}

#[test]
fn a_cordoned_worker_that_takes_work_as_it_is_stopped_is_counted() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.cordon();
    worker.reports(WorkerState::Cordoned, 1);
    assert!(worker.mark_stopping(StopCause::Drained));
    worker.reports(WorkerState::Cordoned, 1);
    assert_eq!(worker.workers.busy_workers_stopped(), 0);
    worker.reports(WorkerState::Busy, 1);
    worker.reports(WorkerState::Busy, 1);
    assert_eq!(worker.workers.busy_workers_stopped(), 1);
    worker.reports(WorkerState::Cordoned, 1);
    worker.reconnects();
    worker.reports(WorkerState::Busy, 1);
    assert_eq!(worker.workers.busy_workers_stopped(), 1);
    // It counts once for each order to stop it.
    worker.workers.unmark_stopping(&worker.id, worker.now);
    worker.reports(WorkerState::Cordoned, 1);
    assert!(worker.mark_stopping(StopCause::Drained));
    worker.reports(WorkerState::Busy, 1);
    assert_eq!(worker.workers.busy_workers_stopped(), 2);
}

#[test]
fn a_busy_worker_that_was_given_up_as_silent_does_not_count_as_busy() {
    let mut worker = Stream::of_worker(WorkerState::Busy);
    worker.now = worker.now.after(Duration::from_secs(60));
    assert!(worker.mark_stopping(StopCause::Silent));
    worker.reports(WorkerState::Busy, 0);
    assert_eq!(worker.workers.busy_workers_stopped(), 0);
}

#[test]
fn a_worker_whose_instance_could_not_be_stopped_stays_cordoned() {
    let mut worker = Stream::of_worker(WorkerState::Idle);
    worker.cordon();
    worker.reports(WorkerState::Cordoned, 1);
    assert!(worker.mark_stopping(StopCause::Drained));
    worker.workers.unmark_stopping(&worker.id, worker.now);
    assert_eq!(worker.state(), Some(InstanceState::Cordoned));
    worker.uncordon();
    assert_eq!(worker.order(), Some((2, false)));
}
