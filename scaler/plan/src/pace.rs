//! How often to plan, and to poll EC2 and the queue: often while a change is awaited, seldom while nothing runs.

use std::time::Duration;

use crate::{InstanceState, Observation};

/// How long to gather further changes after the first one before a decision: requests that arrive together get their
/// workers in one call.
pub const GATHER: Duration = Duration::from_millis(20);
/// The longest time between two decisions.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// The interval while a change is awaited.
pub const FAST: Duration = Duration::from_millis(100);
/// While nothing runs and there is no demand.
const QUIET: Duration = Duration::from_secs(2);
/// How long after an event its effect is awaited at the fast interval.
const FAST_FOR: Duration = Duration::from_secs(3);

/// Returns how often to poll EC2; `tick` is the normal interval.
#[must_use]
pub fn describe_interval(observation: &Observation, tick: Duration) -> Duration {
    let recent = |since| observation.now.since(since) < FAST_FOR;
    let in_transition = |state| matches!(state, InstanceState::Pending | InstanceState::Stopping);
    let mut instances = observation.instances.iter();
    if instances.any(|it| in_transition(it.state) && recent(it.since)) {
        FAST.min(tick)
    } else if is_quiet(observation) {
        QUIET.max(tick)
    } else {
        tick
    }
}

/// Returns how often to poll the queue; `tick` is the normal interval. Once front has no unanswered requests, scale-in
/// waits only for the queue's counters.
#[must_use]
pub fn count_interval(observation: &Observation, tick: Duration) -> Duration {
    let at_zero = observation.front.filter(|it| it.value.is_zero());
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
    let mut instances = observation.instances.iter();
    let all_stopped = instances.all(|it| it.state == InstanceState::Stopped);
    let no_demand = observation.front.is_some_and(|it| it.value.is_zero());
    all_stopped && no_demand && observation.launching == 0
}
