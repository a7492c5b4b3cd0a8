//! A simulated cloud for the scaler's decisions: deterministic, in simulated time.
//!
//! [`simulate`] drives the real [`scaler_plan::plan()`] through a [`Trace`] of arrivals. The same seed gives the same
//! result, bit for bit. The scaler's property tests drive the same [`Cloud`] through random faults.
//!
//! - [`Cloud`]: the queue, EC2's instances with their workers, what is billed, and what the scaler observes of them.
//! - [`Scenario`]: the policy, and what is assumed of EC2, the queue and the workers.
//! - `simulation`: when the scaler plans, and how its plans are executed.
//! - [`Trace`]: made-up and recorded arrivals.
//! - `random`: seeded random numbers and distributions.
//! - [`Outcome`]: latencies, cost and starts of one policy on one trace; `histogram` counts the latencies.
//! - `optimum`: the least that the same latency could cost with all arrivals known in advance.
//! - [`tune()`]: chooses settings by a recorded trace.
//! - [`Comparison`]: all policies on one trace; [`report`] and [`chart`] print it, `words` explains it.

pub mod chart;
mod cloud;
mod comparison;
mod histogram;
mod optimum;
mod outcome;
mod random;
pub mod report;
mod scenario;
mod simulation;
#[cfg(test)]
mod tests;
mod traces;
pub mod tune;
mod words;

use std::time::Duration;

pub use cloud::{Cloud, Faults, Machine, Phase, Power};
pub use comparison::{Comparison, Run};
pub use outcome::{Outcome, Sample};
pub use scenario::{DAY_WORKERS, Scenario};
pub use simulation::simulate;
pub use traces::{NAMES, Trace};
pub use tune::tune;

/// Time since the beginning of a simulation, in microseconds.
pub type Micros = u64;

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
