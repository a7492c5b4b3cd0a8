//! When to ask EC2 and the queue: often while an answer is awaited, seldom while nothing is going on.

use std::time::Duration;

use crate::plan::{Moment, Observation, State};

const FAST: Duration = Duration::from_millis(100);
/// While nothing runs and nothing is wanted.
const QUIET: Duration = Duration::from_secs(2);
/// For how long after an event its effect is looked for at the fast pace.
const FAST_FOR: Duration = Duration::from_secs(3);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// How often to ask one of the two.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    asked_at: Option<Moment>,
    under_way: bool,
    failures: u32,
}

impl Pace {
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            asked_at: None,
            under_way: false,
            failures: 0,
        }
    }

    /// Sets how often to ask from now on.
    pub fn set(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// When to ask next; absent while a question is under way.
    #[must_use]
    pub fn due_at(&self) -> Option<Moment> {
        if self.under_way {
            return None;
        }
        let asked_at = self.asked_at.unwrap_or_default();
        let backoff = (FAST * 2_u32.saturating_pow(self.failures)).min(LONGEST_BACKOFF);
        let interval = if self.failures > 0 {
            self.interval.max(backoff)
        } else {
            self.interval
        };
        Some(if self.asked_at.is_none() {
            asked_at
        } else {
            asked_at.after(interval)
        })
    }

    pub fn asked(&mut self, now: Moment) {
        (self.asked_at, self.under_way) = (Some(now), true);
    }

    pub fn answered(&mut self) {
        (self.under_way, self.failures) = (false, 0);
    }

    pub fn failed(&mut self) {
        (self.under_way, self.failures) = (false, self.failures.saturating_add(1).min(16));
    }
}

/// How often to ask EC2, which answers `tick` in the ordinary.
#[must_use]
pub fn describe_interval(observation: &Observation, tick: Duration) -> Duration {
    let recent = |since| observation.now.since(since) < FAST_FOR;
    let in_transition = |state| matches!(state, State::Pending | State::Stopping);
    if observation
        .instances
        .iter()
        .any(|i| in_transition(i.state) && recent(i.since))
    {
        FAST.min(tick)
    } else if is_quiet(observation) {
        QUIET.max(tick)
    } else {
        tick
    }
}

/// How often to ask the queue. Once front waits for nothing more, its answer is all that is missing.
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
    if up && unconfirmed {
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
