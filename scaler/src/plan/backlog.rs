//! AWS's recipe for workers that serve a queue: target tracking on the backlog per instance.
//!
//! Sources: "Scaling policy based on Amazon SQS"
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-using-sqs-queue.html>) for the metric and its target,
//! "Create a target tracking scaling policy using metric math"
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-target-tracking-metric-math.html>) for its
//! parts, and "Target tracking scaling policies"
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-target-tracking.html>) for how it is followed:
//! out in proportion and fast, in slowly. How slowly, the guide leaves open. The numbers of datapoints are those of the
//! two alarms that AWS creates for such a policy, which cannot be changed, as users report
//! (<https://github.com/aws/containers-roadmap/issues/1208>); that the lower alarm is 10 % below the target is common
//! experience, for which no page of AWS's was found.
//!
//! The metric is messages that wait, over instances that run. The target is the longest acceptable latency over the
//! time that one message takes; the latter is measured here, where AWS has the operator measure it.
//!
//! Where the recipe is silent: without an instance the metric has no value, so users write `messages / MAX(instances,
//! 1)`, and add an alarm of their own for the first instance, since a small backlog would wait for ever. Here both are
//! one: without an instance any backlog counts as above the target, and the last instance stays while there is work.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::demand::Assessment;
use super::published::{PolicyState, Situation, hold, workers_for};
use super::{Memory, Moment, Observation, Policy, State as InstanceState, Target};

/// How often CloudWatch has a datapoint.
const PERIOD: Duration = Duration::from_secs(60);
/// Consecutive datapoints above the target that scale out.
const DATAPOINTS_OUT: u32 = 3;
/// Consecutive datapoints below [`SCALE_IN_BELOW`] that scale in.
const DATAPOINTS_IN: usize = 15;
/// The share of the target below which instances are too many.
const SCALE_IN_BELOW: f64 = 0.9;
/// How long instances warm up: the default cooldown, which stands in for a warm-up that is not configured
/// (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutScalingPolicy.html>).
const WARM_UP: Duration = Duration::from_secs(300);

// No instance goes while others warm up. That takes no code, as it takes longer to scale in after scaling out.
const _: () = assert!(WARM_UP.as_secs() <= PERIOD.as_secs() * DATAPOINTS_IN as u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// The group's desired capacity.
    desired: u64,
    next_datapoint: Moment,
    /// Consecutive datapoints above the target.
    above: u32,
    /// What the backlogs of consecutive datapoints well below it would take; the latest [`DATAPOINTS_IN`].
    below: VecDeque<u64>,
    /// What the last datapoint's backlog would take.
    needed: u64,
}

pub(super) fn target(
    policy: &Policy,
    observation: &Observation,
    assessment: &Assessment,
    memory: &mut Memory,
) -> Target {
    let known = match std::mem::take(&mut memory.policy_state) {
        PolicyState::Backlog(state) => Some(state),
        _ => None,
    };
    let Some(situation) = Situation::new(policy, observation, assessment) else {
        let target = hold(observation, known.as_ref().map(|it| it.desired));
        memory.policy_state = known.map_or(PolicyState::Fresh, PolicyState::Backlog);
        return target;
    };
    let mut state = known.unwrap_or_else(|| State::start(&situation));
    let service = memory.estimates.service.map_or_else(
        || policy.goal.service_time.as_secs_f64(),
        |service| service.mean,
    );
    if situation.now >= state.next_datapoint {
        state.take_datapoint(&situation, acceptable_backlog(policy.goal.latency, service));
    }
    let against = if state.needed > state.desired {
        "would be in proportion to the backlog, which has not been too large for 3 minutes"
    } else {
        "would do for the backlog, which has not been small for 15 minutes"
    };
    let rejected = situation.alternative(state.desired, state.needed, against);
    let target = situation.target(state.desired, Some(state.next_datapoint), rejected);
    memory.policy_state = PolicyState::Backlog(state);
    target
}

/// Messages that may wait for each instance.
fn acceptable_backlog(latency: Duration, service_seconds: f64) -> f64 {
    // Neither is ever zero in a sound configuration; an endless target would never scale.
    latency.as_secs_f64().max(0.001) / service_seconds.max(0.001)
}

impl State {
    fn start(situation: &Situation<'_>) -> Self {
        Self {
            desired: situation.inherited(),
            next_datapoint: situation.now,
            above: 0,
            below: VecDeque::new(),
            needed: 0,
        }
    }

    fn take_datapoint(&mut self, situation: &Situation<'_>, acceptable: f64) {
        self.next_datapoint = situation.now.after(PERIOD);
        let observation = situation.observation;
        let busy = observation.count(InstanceState::Busy);
        // What a worker has taken is in flight, and not part of the backlog.
        let visible = situation.demand.saturating_sub(busy.into());
        let running = situation.ready() + observation.count(InstanceState::Booting);
        self.needed = workers_for(visible as f64, acceptable).max((situation.demand > 0).into());
        let per_instance = visible as f64 / f64::from(running.max(1));
        let is_above = per_instance > acceptable || (running == 0 && visible > 0);
        let is_below = !is_above && per_instance < SCALE_IN_BELOW * acceptable;
        self.above = if is_above { self.above + 1 } else { 0 };
        if is_below {
            self.below.push_back(self.needed);
            if self.below.len() > DATAPOINTS_IN {
                self.below.pop_front();
            }
        } else {
            self.below.clear();
        }
        if self.above >= DATAPOINTS_OUT && self.needed > self.desired {
            // Metric over target times what runs. That goes by the whole backlog, so those that warm up are not asked
            // for again.
            self.desired = self.needed;
        } else if self.below.len() == DATAPOINTS_IN {
            // Scaling in slowly is left to us: to what the largest of these backlogs takes.
            let largest = self.below.iter().copied().max().unwrap_or_default();
            self.desired = self.desired.min(largest);
        }
        self.desired = situation.clamp(self.desired);
    }
}
