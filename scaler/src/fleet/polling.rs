//! How often to poll EC2 and the queue: often while a change is expected, seldom while nothing goes on.

use std::time::Duration;

use crate::plan::{Moment, Observation, State};

const FAST: Duration = Duration::from_millis(100);
/// While nothing runs and nothing is wanted.
const QUIET: Duration = Duration::from_secs(2);
/// How long the fast interval lasts after a change of state.
const FAST_FOR: Duration = Duration::from_secs(3);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Times the polls of one source, one in flight at a time, with exponential backoff after failures.
#[derive(Debug)]
pub struct PollTimer {
    interval: Duration,
    asked_at: Option<Moment>,
    in_flight: bool,
    failures: u32,
}

impl PollTimer {
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            asked_at: None,
            in_flight: false,
            failures: 0,
        }
    }

    /// Sets the interval between polls.
    pub fn set(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Returns when to poll next; `None` while a poll is in flight.
    #[must_use]
    pub fn due_at(&self) -> Option<Moment> {
        if self.in_flight {
            return None;
        }
        let backoff = match self.failures {
            0 => Duration::ZERO,
            failures => (FAST * 2_u32.saturating_pow(failures)).min(LONGEST_BACKOFF),
        };
        let next = |asked_at: Moment| asked_at.after(self.interval.max(backoff));
        Some(self.asked_at.map_or_else(Moment::default, next))
    }

    pub fn asked(&mut self, now: Moment) {
        (self.asked_at, self.in_flight) = (Some(now), true);
    }

    pub fn answered(&mut self) {
        (self.in_flight, self.failures) = (false, 0);
    }

    pub fn failed(&mut self) {
        (self.in_flight, self.failures) = (false, self.failures.saturating_add(1).min(16));
    }
}

/// Returns how often to poll EC2; normally every `tick`.
#[must_use]
pub fn describe_interval(observation: &Observation, tick: Duration) -> Duration {
    let changes = observation.instances.iter().any(|instance| {
        matches!(instance.state, State::Pending | State::Stopping)
            && observation.now.since(instance.since) < FAST_FOR
    });
    interval(changes, observation, tick)
}

/// Returns how often to poll the queue; normally every `tick`. Fast while front has no unanswered request, workers are
/// up, and the queue has not confirmed that it is empty.
#[must_use]
pub fn count_interval(observation: &Observation, tick: Duration) -> Duration {
    let at_zero = observation
        .front
        .filter(|front| front.value.unanswered == 0);
    let up = observation.instances.iter().any(|i| i.state.is_capacity());
    let unconfirmed = at_zero.is_some_and(|front| {
        !observation
            .queue
            .is_some_and(|queue| queue.value.messages() == 0 && queue.at >= front.at)
    });
    interval(up && unconfirmed, observation, tick)
}

fn interval(expects_change: bool, observation: &Observation, tick: Duration) -> Duration {
    if expects_change {
        FAST.min(tick)
    } else if is_quiet(observation) {
        QUIET.max(tick)
    } else {
        tick
    }
}

fn is_quiet(observation: &Observation) -> bool {
    let all_stopped = observation
        .instances
        .iter()
        .all(|i| i.state == State::Stopped);
    let nothing_wanted = observation
        .front
        .is_some_and(|front| front.value.unanswered == 0);
    all_stopped && nothing_wanted && observation.launching == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::Fleet;

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
