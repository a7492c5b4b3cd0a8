//! AWS's recipe for workers that serve a queue: target tracking on the backlog per instance.
//!
//! Sources: "Scaling policy based on Amazon SQS"
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-using-sqs-queue.html>) for the metric and its target,
//! "Create a target tracking scaling policy using metric math"
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-target-tracking-metric-math.html>) for its
//! parts, and "Target tracking scaling policies"
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-target-tracking.html>) for how it is followed:
//! out in proportion and fast, in slowly. The guide does not say how slowly. The numbers of datapoints are those of the
//! two alarms that AWS creates for such a policy, as users report
//! (<https://github.com/aws/containers-roadmap/issues/1208>). That the lower alarm is 10 % below the target is common
//! experience; no page of AWS says so.
//!
//! The metric is waiting messages over running instances. The target is the longest acceptable latency over the time
//! that one message takes. That time is measured here, where AWS has the operator measure it.
//!
//! Where the recipe is silent: without an instance the metric has no value. Users write `messages / MAX(instances, 1)`,
//! and add an alarm for the first instance, since a small backlog would wait forever. Here both are one: without an
//! instance any backlog counts as above the target, and the last instance stays while there is work.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PolicyInput, Target};
use crate::demand::workers_for;
use crate::{InstanceState, Timestamp};

/// How often CloudWatch has a datapoint.
const PERIOD: Duration = Duration::from_secs(60);
/// Consecutive datapoints above the target that scale out.
const DATAPOINTS_OUT: u32 = 3;
/// Consecutive datapoints below [`SCALE_IN_BELOW`] that scale in.
const DATAPOINTS_IN: usize = 15;
/// The share of the target below which there are too many instances.
const SCALE_IN_BELOW: f64 = 0.9;
/// How long instances warm up: the default cooldown, which stands in for a warm-up that is not configured
/// (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutScalingPolicy.html>).
const WARM_UP: Duration = Duration::from_secs(300);

// No instance is withdrawn while others warm up. That takes no code: scaling in takes longer.
const _: () = assert!(WARM_UP.as_secs() <= PERIOD.as_secs() * DATAPOINTS_IN as u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BacklogState {
    /// The group's desired capacity.
    pub desired: u64,
    next_datapoint: Timestamp,
    /// Consecutive datapoints above the target.
    above: u32,
    /// How many workers the backlogs of consecutive low datapoints would take; the latest [`DATAPOINTS_IN`].
    below: VecDeque<u64>,
    /// How many workers the last datapoint's backlog would take.
    needed: u64,
}

impl BacklogState {
    pub fn start(input: &PolicyInput<'_>) -> Self {
        Self {
            desired: input.inherited(),
            next_datapoint: input.now,
            above: 0,
            below: VecDeque::new(),
            needed: 0,
        }
    }

    pub fn target(&mut self, input: &PolicyInput<'_>) -> Target {
        if input.now >= self.next_datapoint {
            // A sound configuration has neither at zero; an infinite target would never scale.
            let latency = input.policy.targets.latency.as_secs_f64().max(0.001);
            self.take_datapoint(input, latency / input.service.max(0.001));
        }
        let against = if self.needed > self.desired {
            "would be in proportion to the backlog, which has not been too large for 3 minutes"
        } else {
            "would do for the backlog, which has not been small for 15 minutes"
        };
        let rejected = input.alternative(self.desired, self.needed, against);
        input.target(self.desired, Some(self.next_datapoint), rejected)
    }

    /// `acceptable` is how many messages may wait for each instance.
    fn take_datapoint(&mut self, input: &PolicyInput<'_>, acceptable: f64) {
        self.next_datapoint = input.now.after(PERIOD);
        let observation = input.observation;
        let busy = u64::from(observation.count(InstanceState::Busy));
        // A message that a worker has received is in flight, and not part of the backlog. Some workers may have frames.
        let busy = busy.saturating_sub(input.frames);
        let visible = input.demand.saturating_sub(busy);
        let running = input.ready() + observation.count(InstanceState::Booting);
        self.needed = workers_for(visible as f64, acceptable).max((input.demand > 0).into());
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
            // Metric over target times the running instances. That follows from the whole backlog, so instances that
            // warm up are not requested again.
            self.desired = self.needed;
        } else if self.below.len() == DATAPOINTS_IN {
            // How slowly to scale in is left open: here, to what the largest of these backlogs takes.
            let largest = self.below.iter().copied().max().unwrap_or_default();
            self.desired = self.desired.min(largest);
        }
        self.desired = input.clamp(self.desired);
    }
}
