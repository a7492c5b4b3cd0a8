//! Workers by the clock: as many as the schedule's windows say, and the configured minimum outside of them.
//!
//! As scheduled scaling has it
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-scheduled-scaling.html>), demand does not
//! count, with one exception: where the windows leave nobody, one worker comes while there is demand, so that no
//! client waits for ever. The windows are part of the limits, which hold for every policy.

use super::demand::Assessment;
use super::published::{Situation, hold};
use super::{Observation, Policy, Target};

pub(super) fn target(
    policy: &Policy,
    observation: &Observation,
    assessment: &Assessment,
) -> Target {
    let Some(situation) = Situation::new(policy, observation, assessment) else {
        return hold(observation, None);
    };
    // The limits raise this to the minimum of the hour.
    let desired = u64::from(situation.demand > 0);
    situation.target(desired, None, Vec::new())
}
