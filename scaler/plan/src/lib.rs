//! Decides which instances to start, launch, cordon, uncordon and stop.
//!
//! [`plan()`] is a pure function from a [`Policy`], an [`Observation`] and its [`Memory`] to a [`Plan`]. It reads no clock,
//! does no I/O, and leaves its executor no choices.
//!
//! - `model`: what is observed: instances, demand, the queue, billing; and [`Timestamp`].
//! - `policy`: what is configured: bounds, timeouts, targets, prices, the schedule.
//! - `plan`: what is decided, with its reason and the rejected alternatives.
//! - `planner`: the decision from beginning to end, and its [`Memory`], which `demand`, `frames`, `lost`, `policies`
//!   and `plan_builder` share.
//! - `demand`: how much work there is, by what front and the queue report, and how many workers a load takes.
//! - `estimate`: measured service times, boot times and arrival rates.
//! - `learned`: times that a former scaler measured.
//! - `policies`: from demand to a number of workers, by seven policies.
//! - `frames`: the workers for frames of clips, which are demand of lower priority.
//! - `lost`: instances that are given up because their worker is silent.
//! - `plan_builder`: from a number of workers to the calls that lead there.
//! - `reason`: the plan's sentence.
//! - [`pace`]: how often to plan, and to poll EC2 and the queue.
//! - [`throttle`]: token buckets and exponential backoff.
//! - `fixtures`: observations for the tests of this crate and of `scaler`. They are no feature, which would build all that
//!   depends on this crate once more for tests.

mod demand;
mod estimate;
#[doc(hidden)]
pub mod fixtures;
mod frames;
mod learned;
mod lost;
mod model;
pub mod pace;
mod plan;
mod plan_builder;
mod planner;
mod policies;
mod policy;
mod reason;
#[cfg(test)]
mod tests;
pub mod throttle;

pub use estimate::{Estimates, Rate, Smoothed, Source};
pub use learned::Learned;
pub use model::{
    Billing, CallBackoff, Counters, FailedBoots, FrontDemand, Instance, InstanceId, InstanceState,
    LeftOut, Observation, RefusedCalls, Timestamp, Timestamped,
};
pub use plan::{Alternative, Plan, Stop, StopCause};
pub use planner::{Memory, may_discard, plan};
pub use policy::{
    Bounds, KeepIdle, Policy, PolicyKind, Prices, Targets, Timeouts, Video, Window, WorkerLimits,
};
