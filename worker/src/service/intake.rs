//! When a worker receives messages, and what it reports. Pure: the time is an argument, and the caller makes the calls.

use std::time::{Duration, Instant};

use proto::v1::WorkerState;

use super::attend::{Control, Status};
use super::receive_policy::{ReceivePolicy, ReceiveRequest};

/// The decisions of the worker's loop, without its calls.
#[derive(Debug)]
pub struct Intake {
    receive_policy: ReceivePolicy,
    jobs_in_flight: usize,
    /// The outstanding receive call, and when it began.
    outstanding: Option<(ReceiveRequest, Instant)>,
    is_ending: bool,
    completed: u64,
    outage: Outage,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actions {
    /// Begin this receive call. It must run to its end, also after a cordon or the shutdown: messages that it was about to
    /// return would be hidden from other workers.
    pub receive: Option<ReceiveRequest>,
    /// Delete settled messages at once instead of gathering them.
    pub hurries_deletes: bool,
    pub status: Status,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// A result or an error was replied. The message is to be deleted.
    Answered,
    /// The message cannot be replied to. It is given back at once.
    Rejected,
    /// S3 or SQS failed. The message returns after its visibility timeout.
    Abandoned,
}

/// Failed calls to S3 or SQS. Without a pause the worker would use up the receive counts of good messages.
#[derive(Debug, Default)]
struct Outage {
    /// Failures in a row. Those during a pause do not count.
    failures: u32,
    pause_ends: Option<Instant>,
}

impl Intake {
    /// `max_jobs` is how many jobs can be started at once.
    #[must_use]
    pub fn new(max_jobs: usize) -> Self {
        Self {
            receive_policy: ReceivePolicy::new(max_jobs),
            jobs_in_flight: 0,
            outstanding: None,
            is_ending: false,
            completed: 0,
            outage: Outage::default(),
        }
    }

    /// Ends the intake: no further receive call begins.
    pub fn end(&mut self) {
        self.is_ending = true;
    }

    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// Returns whether the intake was ended, and every message that was received or was about to be received is
    /// settled. `undeleted` is how many settled messages are yet to be deleted.
    #[must_use]
    pub fn is_over(&self, undeleted: usize) -> bool {
        self.is_ending && self.is_free() && undeleted == 0
    }

    /// Returns whether no job is in flight and no receive call outstanding.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.jobs_in_flight == 0 && self.outstanding.is_none()
    }

    #[must_use]
    pub fn jobs_in_flight(&self) -> usize {
        self.jobs_in_flight
    }

    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Returns when the pause of the last decision ends. Decide [again](Self::next_actions) then.
    #[must_use]
    pub fn pause_ends(&self) -> Option<Instant> {
        self.outage.pause_ends.max(self.receive_policy.pause_ends)
    }

    /// Decides after each event.
    pub fn next_actions(&mut self, control: Control, undeleted: usize, now: Instant) -> Actions {
        let is_on = |end: &Instant| now < *end;
        self.outage.pause_ends = self.outage.pause_ends.filter(is_on);
        self.receive_policy.pause_ends = self.receive_policy.pause_ends.filter(is_on);
        let is_cordoned = control.is_cordoned();
        let may_receive = !self.is_ending
            && !is_cordoned
            && self.pause_ends().is_none()
            && self.outstanding.is_none();
        let receive = may_receive.then(|| self.receive_policy.next_request(self.jobs_in_flight));
        let receive = receive.flatten();
        self.outstanding = self.outstanding.or(receive.map(|request| (request, now)));
        // A cordoned worker is not idle before its messages are deleted.
        let unsettled = if is_cordoned { undeleted } else { 0 };
        Actions {
            receive,
            hurries_deletes: self.is_ending || is_cordoned,
            status: Status {
                state: state(
                    is_cordoned,
                    self.outstanding.is_some(),
                    self.jobs_in_flight + unsettled,
                ),
                completed: self.completed,
                interruption: control.interruption,
                obeyed: control.order,
            },
        }
    }

    /// Records that the receive call returned so many messages. Their jobs begin now.
    pub fn received(&mut self, messages: usize, now: Instant) {
        self.jobs_in_flight += messages;
        if let Some((request, began_at)) = self.outstanding.take() {
            let (in_flight, took) = (self.jobs_in_flight, now - began_at);
            self.receive_policy
                .received(request, messages, in_flight, took, now);
        }
    }

    pub fn receive_failed(&mut self, now: Instant) {
        self.outstanding = None;
        self.outage.failed(now);
    }

    /// Records that a job ended after `elapsed`.
    pub fn job_ended(&mut self, end: JobEnd, elapsed: Duration, now: Instant) {
        self.receive_policy.finished(elapsed, self.jobs_in_flight);
        self.jobs_in_flight -= 1;
        match end {
            JobEnd::Answered => {
                self.completed += 1;
                self.outage.failures = 0;
            }
            JobEnd::Rejected => {}
            JobEnd::Abandoned => self.outage.failed(now),
        }
    }
}

impl Outage {
    fn failed(&mut self, now: Instant) {
        if self.pause_ends.is_none() {
            self.pause_ends = Some(now + Duration::from_secs(1 << self.failures.min(4)));
            self.failures += 1;
        }
    }
}

/// Returns the state to report. A cordon is confirmed only when nothing can make the worker busy any more.
fn state(is_cordoned: bool, is_receiving: bool, jobs_in_flight: usize) -> WorkerState {
    match (jobs_in_flight, is_receiving) {
        (0, false) if is_cordoned => WorkerState::Cordoned,
        (0, _) => WorkerState::Idle,
        _ => WorkerState::Busy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::attend::Order;

    const SECOND: Duration = Duration::from_secs(1);

    fn cordon() -> Control {
        Control {
            order: Order {
                cordoned: true,
                sequence: 1,
                stream: 1,
            },
            interruption: None,
        }
    }

    #[test]
    fn a_cordon_is_confirmed_when_nothing_is_in_flight_and_no_call_is_outstanding() {
        use WorkerState::{Busy, Cordoned, Idle};
        assert_eq!(state(true, false, 0), Cordoned);
        assert_eq!(state(true, true, 0), Idle);
        assert_eq!(state(true, false, 1), Busy);
        assert_eq!(state(true, true, 1), Busy);
        assert_eq!(state(false, false, 0), Idle);
        assert_eq!(state(false, true, 2), Busy);
    }

    #[test]
    fn a_cordoned_worker_settles_what_its_last_receive_returned_before_it_confirms() {
        let now = Instant::now();
        let mut intake = Intake::new(2);
        assert_eq!(
            intake
                .next_actions(Control::default(), 0, now)
                .receive
                .map(|request| request.limit),
            Some(2)
        );
        let cordoned = intake.next_actions(cordon(), 0, now);
        assert_eq!(
            (cordoned.receive, cordoned.status.state),
            (None, WorkerState::Idle)
        );
        intake.received(1, now);
        assert_eq!(
            intake.next_actions(cordon(), 0, now).status.state,
            WorkerState::Busy
        );
        intake.job_ended(JobEnd::Answered, SECOND, now);
        let confirmed = intake.next_actions(cordon(), 0, now).status;
        assert_eq!(
            (confirmed.state, confirmed.completed, confirmed.obeyed),
            (WorkerState::Cordoned, 1, cordon().order)
        );
    }

    #[test]
    fn neither_a_cordon_nor_the_end_comes_before_the_last_message_is_deleted() {
        let now = Instant::now();
        let mut intake = Intake::new(1);
        let actions = intake.next_actions(cordon(), 1, now);
        assert_eq!(actions.status.state, WorkerState::Busy);
        assert!(actions.hurries_deletes);
        assert_eq!(
            intake.next_actions(cordon(), 0, now).status.state,
            WorkerState::Cordoned
        );
        intake.end();
        assert!(!intake.is_over(1) && intake.is_over(0));
        let idle = Intake::new(1).next_actions(Control::default(), 1, now);
        assert_eq!(idle.status.state, WorkerState::Idle);
        assert!(!idle.hurries_deletes);
    }

    #[test]
    fn the_end_waits_for_the_outstanding_receive_and_its_jobs() {
        let now = Instant::now();
        let mut intake = Intake::new(1);
        intake.next_actions(Control::default(), 0, now);
        intake.end();
        assert!(!intake.is_over(0));
        intake.received(1, now);
        assert_eq!(
            intake.next_actions(Control::default(), 0, now).receive,
            None
        );
        assert!(!intake.is_over(0));
        intake.job_ended(JobEnd::Abandoned, SECOND, now);
        assert!(intake.is_over(0));
    }

    #[test]
    fn pauses_grow_with_failures_in_a_row_and_jobs_that_fail_together_count_once() {
        let mut now = Instant::now();
        let mut intake = Intake::new(8);
        for seconds in [1, 2, 4, 8, 16, 16] {
            assert!(
                intake
                    .next_actions(Control::default(), 0, now)
                    .receive
                    .is_some()
            );
            intake.receive_failed(now);
            intake.outage.failed(now + Duration::from_millis(500));
            assert_eq!(
                intake.next_actions(Control::default(), 0, now).receive,
                None
            );
            assert_eq!(
                intake.pause_ends(),
                Some(now + Duration::from_secs(seconds))
            );
            now += Duration::from_secs(seconds);
        }
        intake.received(1, now);
        intake.job_ended(JobEnd::Answered, SECOND, now);
        intake.next_actions(Control::default(), 0, now);
        intake.receive_failed(now);
        assert_eq!(intake.pause_ends(), Some(now + SECOND));
    }
}
