//! When to poll EC2 and the queue. How often is in [`crate::plan::pace`].

use std::time::Duration;

use platform::backoff::Backoff;

use crate::plan::Timestamp;
use crate::plan::pace::FAST;

const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Times the polls of one source, one in flight at a time, with exponential backoff after failures.
#[derive(Debug)]
pub struct PollTimer {
    interval: Duration,
    asked_at: Option<Timestamp>,
    in_flight: bool,
    backoff: Backoff,
    /// Zero after a success.
    pause: Duration,
}

impl PollTimer {
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            asked_at: None,
            in_flight: false,
            backoff: Backoff::new(FAST.saturating_mul(2), LONGEST_BACKOFF),
            pause: Duration::ZERO,
        }
    }

    /// Sets the interval between polls.
    pub fn set(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Returns when to poll next; `None` while a poll is in flight.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        if self.in_flight {
            return None;
        }
        let next = |asked_at: Timestamp| asked_at.after(self.interval.max(self.pause));
        Some(self.asked_at.map_or_else(Timestamp::default, next))
    }

    /// Makes the next poll due as soon as none is in flight.
    pub fn hurry(&mut self) {
        self.asked_at = None;
    }

    pub fn asked(&mut self, now: Timestamp) {
        (self.asked_at, self.in_flight) = (Some(now), true);
    }

    pub fn answered(&mut self) {
        (self.in_flight, self.pause) = (false, Duration::ZERO);
        self.backoff.reset();
    }

    pub fn failed(&mut self) {
        (self.in_flight, self.pause) = (false, self.backoff.next_pause());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::Fleet;
    use crate::plan::pace::{count_interval, describe_interval};

    #[test]
    fn a_hurried_poll_waits_for_nothing_but_the_one_in_flight() {
        let at = |seconds| Timestamp::after_epoch(Duration::from_secs(seconds));
        let mut timer = PollTimer::every(Duration::from_secs(2));
        timer.asked(at(10));
        timer.hurry();
        assert_eq!(timer.due_at(), None);
        timer.failed();
        assert!(timer.due_at() < Some(at(1)));
        timer.asked(at(11));
        timer.answered();
        assert_eq!(timer.due_at(), Some(at(13)));
    }

    #[test]
    fn ec2_and_the_queue_are_polled_seldom_while_nothing_goes_on() {
        let tick = Duration::from_millis(500);
        let intervals = |fleet: &Fleet| {
            let observation = &fleet.observation;
            (
                describe_interval(observation, tick).as_millis(),
                count_interval(observation, tick).as_millis(),
            )
        };
        let quiet = Fleet::of(3);
        assert_eq!(intervals(&quiet), (2_000, 2_000));
        let unreachable = quiet.clone().with_front_unreachable();
        assert_eq!(intervals(&unreachable), (500, 500));
        assert_eq!(intervals(&quiet.with_backlog(1)), (500, 500));
        let stopping = Fleet::of(1).stopping();
        assert_eq!(intervals(&stopping.clone().for_ms(0)), (100, 500));
        assert_eq!(intervals(&stopping.for_ms(4_000)), (500, 500));
        let ended = Fleet::of(1).idle();
        assert_eq!(intervals(&ended), (500, 500));
        assert_eq!(intervals(&ended.clone().with_messages(1)), (500, 100));
        let unconfirmed = ended.with_queue_last_asked_ms_ago(1);
        assert_eq!(intervals(&unconfirmed), (500, 100));
    }
}
