//! When a worker receives messages, and what it reports. Pure: the time is an argument, and the caller makes the calls.

use std::time::{Duration, Instant};

use platform::queue::BATCH_LIMIT;
use proto::v1::WorkerState;

use super::attend::{Control, Status};

/// The decisions of the worker's loop, without its calls.
#[derive(Debug)]
pub struct Intake {
    /// Most jobs in flight at once.
    max_jobs: usize,
    jobs_in_flight: usize,
    is_receiving: bool,
    is_ending: bool,
    completed: u64,
    outage: Outage,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Begin a receive call for at most so many messages. It must run to its end, also after a cordon or the shutdown:
    /// messages that it was about to return would be hidden from other workers.
    pub receive: Option<usize>,
    pub status: Status,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// A result or an error was replied. The message is deleted.
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
    #[must_use]
    pub fn new(max_jobs: usize) -> Self {
        Self {
            max_jobs,
            jobs_in_flight: 0,
            is_receiving: false,
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

    /// Whether the intake was ended, and every message that was received or was about to be received is settled.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_ending && self.is_free()
    }

    /// Whether no job is in flight and no receive call outstanding.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.jobs_in_flight == 0 && !self.is_receiving
    }

    #[must_use]
    pub fn jobs_in_flight(&self) -> usize {
        self.jobs_in_flight
    }

    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// When the pause after a failure ends. Take a [turn](Self::turn) then.
    #[must_use]
    pub fn pause_ends(&self) -> Option<Instant> {
        self.outage.pause_ends
    }

    /// Decides after each event.
    pub fn turn(&mut self, control: Control, now: Instant) -> Turn {
        self.outage.pause_ends = self.outage.pause_ends.filter(|end| now < *end);
        let limit = room(self.max_jobs, self.jobs_in_flight);
        let receives = !self.is_ending
            && !control.is_cordoned()
            && self.outage.pause_ends.is_none()
            && !self.is_receiving
            && limit > 0;
        self.is_receiving |= receives;
        Turn {
            receive: receives.then_some(limit),
            status: Status {
                state: state(
                    control.is_cordoned(),
                    self.is_receiving,
                    self.jobs_in_flight,
                ),
                completed: self.completed,
                interruption: control.interruption,
                obeyed: control.order,
            },
        }
    }

    /// The receive call returned so many messages. Their jobs begin now.
    pub fn received(&mut self, messages: usize) {
        self.is_receiving = false;
        self.jobs_in_flight += messages;
    }

    pub fn receive_failed(&mut self, now: Instant) {
        self.is_receiving = false;
        self.outage.failed(now);
    }

    pub fn job_ended(&mut self, end: JobEnd, now: Instant) {
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

/// Returns how many messages to receive: no more than can be started at once, as another worker may be idle.
fn room(max_jobs: usize, in_flight: usize) -> usize {
    max_jobs.saturating_sub(in_flight).min(BATCH_LIMIT)
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
    fn a_worker_receives_no_more_than_it_can_start() {
        assert_eq!(room(1, 0), 1);
        assert_eq!(room(1, 1), 0);
        assert_eq!(room(4, 1), 3);
        assert_eq!(room(64, 0), BATCH_LIMIT);
        assert_eq!(room(1, 2), 0);
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
        assert_eq!(intake.turn(Control::default(), now).receive, Some(2));
        let cordoned = intake.turn(cordon(), now);
        assert_eq!(
            (cordoned.receive, cordoned.status.state),
            (None, WorkerState::Idle)
        );
        intake.received(1);
        assert_eq!(intake.turn(cordon(), now).status.state, WorkerState::Busy);
        intake.job_ended(JobEnd::Answered, now);
        let confirmed = intake.turn(cordon(), now).status;
        assert_eq!(
            (confirmed.state, confirmed.completed, confirmed.obeyed),
            (WorkerState::Cordoned, 1, cordon().order)
        );
    }

    #[test]
    fn the_end_waits_for_the_outstanding_receive_and_its_jobs() {
        let now = Instant::now();
        let mut intake = Intake::new(1);
        intake.turn(Control::default(), now);
        intake.end();
        assert!(!intake.is_over());
        intake.received(1);
        assert_eq!(intake.turn(Control::default(), now).receive, None);
        assert!(!intake.is_over());
        intake.job_ended(JobEnd::Abandoned, now);
        assert!(intake.is_over());
    }

    #[test]
    fn pauses_grow_with_failures_in_a_row_and_jobs_that_fail_together_count_once() {
        let mut now = Instant::now();
        let mut intake = Intake::new(8);
        for seconds in [1, 2, 4, 8, 16, 16] {
            assert!(intake.turn(Control::default(), now).receive.is_some());
            intake.receive_failed(now);
            intake.outage.failed(now + Duration::from_millis(500));
            assert_eq!(intake.turn(Control::default(), now).receive, None);
            assert_eq!(
                intake.pause_ends(),
                Some(now + Duration::from_secs(seconds))
            );
            now += Duration::from_secs(seconds);
        }
        intake.received(1);
        intake.job_ended(JobEnd::Answered, now);
        intake.receive_failed(now);
        assert_eq!(intake.pause_ends(), Some(now + Duration::from_secs(1)));
    }
}
