//! Workers by the time of day: as many as the schedule's windows say, and the configured minimum outside of them.
//!
//! As in scheduled scaling
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-scheduled-scaling.html>), demand does not
//! count, with one exception: where the windows leave no worker, one is started while there is demand, so that no client
//! waits forever. The windows are part of the limits, which hold for every policy.

use super::{PolicyInput, Target};

pub fn target(input: &PolicyInput<'_>) -> Target {
    // The limits raise this to the scheduled minimum.
    let desired = u64::from(input.demand > 0);
    input.target(desired, None, None)
}
