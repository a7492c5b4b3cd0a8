use std::time::Duration;

use proto::v1::worker_order::Order;
use proto::v1::{Interruption, WorkerOrder, WorkerReport, WorkerState};
use tokio::sync::watch;

use super::{Roster, SessionId};
use crate::plan::{InstanceId, State, StopCause, Timestamp};

/// A roster and one worker's stream, with a clock that the test moves.
struct Stream {
    roster: Roster,
    id: InstanceId,
    session: SessionId,
    orders: watch::Receiver<Option<WorkerOrder>>,
    /// What its reports tell of.
    interruption: Option<Interruption>,
    now: Timestamp,
}

impl Stream {
    fn of_a_worker_that_is(state: WorkerState) -> Self {
        Self::of_a_worker_that_says(state, None)
    }

    fn of_a_worker_that_says(state: WorkerState, interruption: Option<Interruption>) -> Self {
        let (mut roster, id) = (Roster::default(), InstanceId::from("i-1"));
        let (sender, orders) = watch::channel(None);
        roster.admit([id.clone()]);
        let session = roster.join(&id, sender, Timestamp::default()).unwrap();
        let mut stream = Self {
            roster,
            id,
            session,
            orders,
            interruption,
            now: Timestamp::default(),
        };
        stream.says(state, 0);
        stream
    }

    fn says(&mut self, state: WorkerState, order_sequence: u64) {
        self.says_having_completed(state, order_sequence, 0);
    }

    fn says_having_completed(&mut self, state: WorkerState, order_sequence: u64, completed: u64) {
        self.now = self.now.after(Duration::from_millis(100));
        let instance_id = self.id.to_string();
        let report = WorkerReport {
            instance_id,
            state: state.into(),
            completed,
            order_sequence,
            interruption: self.interruption,
        };
        self.roster
            .report(&self.session, &report, self.now)
            .expect("it is the newest stream");
    }

    fn reconnects(&mut self) {
        let (sender, orders) = watch::channel(None);
        let session = self.roster.join(&self.id, sender, self.now);
        (self.session, self.orders) = (session.unwrap(), orders);
    }

    fn state(&self) -> Option<State> {
        self.roster.get(&self.id).and_then(|worker| worker.state)
    }

    fn is_leaving(&self) -> bool {
        self.roster.get(&self.id).is_some_and(|it| it.leaving)
    }

    fn condemned(&mut self, cause: StopCause) -> bool {
        self.roster.condemn(&self.id, cause, self.now, self.now)
    }

    fn cordon(&mut self) {
        self.roster.cordon(&self.id, self.now);
    }

    fn uncordon(&mut self) {
        self.roster.uncordon(&self.id, self.now);
    }

    /// The newest order: its sequence, and whether it is to cordon.
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
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.cordon();
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(State::Draining))
    );
    worker.says(WorkerState::Idle, 0);
    assert!(!worker.condemned(StopCause::Drained));
    worker.says(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(State::Cordoned));
    assert!(worker.condemned(StopCause::Drained));
    assert_eq!(worker.state(), Some(State::Stopping));
}

#[test]
fn a_worker_that_got_a_message_in_between_drains_until_it_has_finished() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.cordon();
    worker.says(WorkerState::Busy, 0);
    worker.says(WorkerState::Busy, 1);
    assert_eq!(worker.state(), Some(State::Draining));
    assert!(!worker.condemned(StopCause::Drained));
    worker.says(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(State::Cordoned));
}

#[test]
fn a_confirmation_that_crossed_a_later_order_does_not_count() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.cordon();
    worker.uncordon();
    worker.cordon();
    assert_eq!(worker.order(), Some((3, true)));
    worker.says(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(State::Draining));
    worker.says(WorkerState::Busy, 2);
    worker.says(WorkerState::Cordoned, 3);
    assert_eq!(worker.state(), Some(State::Cordoned));
}

/// Otherwise a worker is stopped while it is busy: EC2's notice has it ordered to cordon itself, and the report that tells of
/// the notice would answer that very order.
#[test]
fn a_confirmation_of_an_order_that_was_never_sent_does_not_count() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Busy);
    worker.interruption = NOTICE;
    worker.says(WorkerState::Cordoned, 1);
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(State::Draining))
    );
    assert!(!worker.condemned(StopCause::Drained));
    worker.says(WorkerState::Busy, 0);
    assert_eq!(worker.state(), Some(State::Draining));
    // Nor one of an order that is yet to come.
    worker.says(WorkerState::Cordoned, 2);
    assert_eq!(worker.state(), Some(State::Draining));
    worker.says(WorkerState::Cordoned, 1);
    assert!(worker.condemned(StopCause::Drained));
}

#[test]
fn a_confirmation_counts_only_on_the_present_stream() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.cordon();
    worker.says(WorkerState::Cordoned, 1);
    worker.reconnects();
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(State::Draining))
    );
    worker.says(WorkerState::Cordoned, 0);
    assert_eq!(worker.state(), Some(State::Draining));
    worker.says(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(State::Cordoned));
}

#[test]
fn an_order_waits_for_a_worker_that_is_yet_to_attend() {
    let (mut roster, id) = (Roster::default(), InstanceId::from("i-1"));
    roster.cordon(&id, Timestamp::default());
    let (sender, orders) = watch::channel(None);
    roster.admit([id.clone()]);
    let _session = roster.join(&id, sender, Timestamp::default()).unwrap();
    assert_eq!(orders.borrow().map(|order| order.sequence), Some(1));
}

#[test]
fn a_worker_that_an_earlier_scaler_cordoned_is_asked_to_confirm_it() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Cordoned);
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(State::Draining))
    );
    worker.says(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(State::Cordoned));
}

#[test]
fn a_worker_that_does_not_come_back_when_called_is_called_again() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.cordon();
    worker.says(WorkerState::Cordoned, 1);
    worker.uncordon();
    worker.says(WorkerState::Cordoned, 2);
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((2, false)), Some(State::Idle))
    );
    worker.now = worker.now.after(Duration::from_secs(1));
    worker.says(WorkerState::Cordoned, 2);
    assert_eq!(worker.order(), Some((3, false)));
}

#[test]
fn the_newest_stream_counts() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Busy);
    let old = worker.session.clone();
    worker.reconnects();
    assert_eq!(
        worker
            .roster
            .report(&old, &WorkerReport::default(), worker.now),
        None
    );
    worker.roster.leave(&old, worker.now);
    assert_eq!(worker.state(), Some(State::Busy));
    worker.says(WorkerState::Idle, 0);
    assert_eq!(worker.state(), Some(State::Idle));
}

#[test]
fn a_worker_that_finished_a_job_between_two_reports_is_idle_anew() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.says(WorkerState::Idle, 0);
    let since = worker.roster.get(&worker.id).map(|it| it.since);
    worker.says(WorkerState::Idle, 0);
    assert_eq!(worker.roster.get(&worker.id).map(|it| it.since), since);
    worker.says_having_completed(WorkerState::Idle, 0, 1);
    assert_eq!(
        worker.roster.get(&worker.id).map(|it| it.since),
        Some(worker.now)
    );
}

#[test]
fn a_report_saves_a_worker_that_was_about_to_be_given_up() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Busy);
    let planned_at = worker.now;
    worker.says(WorkerState::Busy, 0);
    assert!(
        !worker
            .roster
            .condemn(&worker.id, StopCause::Silent, planned_at, worker.now)
    );
    assert!(!worker.condemned(StopCause::NeverAttended));
}

#[test]
fn a_cordoned_worker_that_takes_work_as_it_is_stopped_is_counted() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.cordon();
    worker.says(WorkerState::Cordoned, 1);
    assert!(worker.condemned(StopCause::Drained));
    worker.says(WorkerState::Cordoned, 1);
    assert_eq!(worker.roster.busy_workers_stopped(), 0);
    worker.says(WorkerState::Busy, 1);
    worker.says(WorkerState::Busy, 1);
    assert_eq!(worker.roster.busy_workers_stopped(), 1);
    worker.says(WorkerState::Cordoned, 1);
    worker.reconnects();
    worker.says(WorkerState::Busy, 1);
    assert_eq!(worker.roster.busy_workers_stopped(), 1);
    // Another order to stop it is another chance to be wrong.
    worker.roster.pardon(&worker.id, worker.now);
    worker.says(WorkerState::Cordoned, 1);
    assert!(worker.condemned(StopCause::Drained));
    worker.says(WorkerState::Busy, 1);
    assert_eq!(worker.roster.busy_workers_stopped(), 2);
}

#[test]
fn a_busy_worker_that_was_given_up_for_its_silence_counts_as_silent_alone() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Busy);
    worker.now = worker.now.after(Duration::from_secs(60));
    assert!(worker.condemned(StopCause::Silent));
    worker.says(WorkerState::Busy, 0);
    assert_eq!(worker.roster.busy_workers_stopped(), 0);
}

#[test]
fn a_worker_whose_instance_could_not_be_stopped_is_cordoned_still() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.cordon();
    worker.says(WorkerState::Cordoned, 1);
    assert!(worker.condemned(StopCause::Drained));
    worker.roster.pardon(&worker.id, worker.now);
    assert_eq!(worker.state(), Some(State::Cordoned));
    worker.uncordon();
    assert_eq!(worker.order(), Some((2, false)));
}

const NOTICE: Option<Interruption> = Some(Interruption {
    action: 0,
    at: None,
});

#[test]
fn a_worker_that_ec2_is_going_to_end_drains_and_is_cordoned_as_if_it_had_been_ordered_to() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Busy);
    assert!(!worker.is_leaving());
    worker.interruption = NOTICE;
    worker.says(WorkerState::Busy, 0);
    assert!(worker.is_leaving());
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(State::Draining))
    );
    // It cordons itself before the order reaches it.
    worker.says(WorkerState::Cordoned, 0);
    assert_eq!(worker.state(), Some(State::Draining));
    assert!(!worker.condemned(StopCause::Drained));
    worker.says(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(State::Cordoned));
    assert!(worker.condemned(StopCause::Drained));
}

#[test]
fn a_worker_that_ec2_is_going_to_end_cannot_be_called_back() {
    let mut worker = Stream::of_a_worker_that_says(WorkerState::Cordoned, NOTICE);
    worker.uncordon();
    worker.says(WorkerState::Cordoned, 1);
    worker.uncordon();
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((1, true)), Some(State::Cordoned))
    );
}

#[test]
fn a_call_back_that_crosses_the_notice_is_taken_back() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.cordon();
    worker.says(WorkerState::Cordoned, 1);
    worker.uncordon();
    worker.interruption = NOTICE;
    worker.says(WorkerState::Cordoned, 1);
    worker.says(WorkerState::Cordoned, 2);
    assert_eq!(
        (worker.order(), worker.state()),
        (Some((3, true)), Some(State::Draining))
    );
    worker.says(WorkerState::Cordoned, 3);
    assert_eq!(worker.state(), Some(State::Cordoned));
}

#[test]
fn a_notice_outlasts_streams_and_scalers() {
    let mut worker = Stream::of_a_worker_that_is(WorkerState::Idle);
    worker.interruption = NOTICE;
    worker.says(WorkerState::Cordoned, 0);
    worker.says(WorkerState::Cordoned, 1);
    worker.reconnects();
    assert!(worker.is_leaving());
    assert_eq!(worker.state(), Some(State::Draining));
    worker.uncordon();
    worker.says(WorkerState::Cordoned, 1);
    assert_eq!(worker.state(), Some(State::Cordoned));

    let mut anew = Stream::of_a_worker_that_says(WorkerState::Cordoned, NOTICE);
    assert!(anew.is_leaving());
    assert_eq!(
        (anew.order(), anew.state()),
        (Some((1, true)), Some(State::Draining))
    );
    anew.says(WorkerState::Cordoned, 1);
    assert_eq!(anew.state(), Some(State::Cordoned));
}

#[test]
fn a_worker_whose_notice_is_withdrawn_waits_to_be_called_back() {
    let mut worker = Stream::of_a_worker_that_says(WorkerState::Cordoned, NOTICE);
    worker.says(WorkerState::Cordoned, 1);
    worker.interruption = None;
    worker.says(WorkerState::Cordoned, 1);
    assert!(!worker.is_leaving());
    assert_eq!(worker.state(), Some(State::Cordoned));
    worker.uncordon();
    assert_eq!(worker.order(), Some((2, false)));
}

#[test]
fn a_leaving_worker_whose_instance_could_not_be_stopped_is_not_taken_for_a_working_one() {
    let mut worker = Stream::of_a_worker_that_says(WorkerState::Busy, NOTICE);
    worker.now = worker.now.after(Duration::from_secs(60));
    assert!(worker.condemned(StopCause::Silent));
    worker.roster.pardon(&worker.id, worker.now);
    assert_eq!(worker.state(), Some(State::Draining));
}
