//! Workers by the time of day: as many as the schedule's windows say, and the configured minimum outside of them.
//!
//! As in scheduled scaling
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-scheduled-scaling.html>), demand does not
//! count, with one exception: where the windows leave no worker, one is started while there is demand, so that no client
//! waits forever. The windows are part of the limits, which hold for every policy.

use super::{Situation, Target};

pub fn target(situation: &Situation<'_>) -> Target {
    // The limits raise this to the scheduled minimum.
    let desired = u64::from(situation.demand > 0);
    situation.target(desired, None, None)
}
