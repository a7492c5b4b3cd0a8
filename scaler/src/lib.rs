//! The scaler: moves the number of worker instances with demand, and explains each decision.
//!
//! It keeps nothing on disk. After a restart EC2, the queue and the workers tell it the present state. Only the lease, the
//! fleet's token and what it learned of its workers' speed last: they are objects in its bucket.
//!
//! | module | what it does |
//! |---|---|
//! | [`plan`] | decides: a pure function from an observation to a plan with its reason |
//! | [`fleet`] | knows the fleet: EC2's list, workers' reports, demand and costs, joined into an observation |
//! | [`execute`] | carries a plan out: orders to workers and calls to EC2, within EC2's request limits |
//! | [`lease`] | elects one of several scalers by an object in S3; the others stand by |
//! | [`decision_log`] | publishes decisions, with totals and statistics, for status, watchers and lists; plans again from recorded ones |
//! | `metrics` | exports decisions and events as Prometheus metrics, all defined in one table |
//! | [`rpc`] | serves `muster.v1.Scaler`: status, decisions, control, and the workers' streams |
//! | `run` | starts everything; `run/reconcile.rs` is the loop that observes, plans and executes |
//! | [`config`] | the flags and environment variables of the service, and the checks of its account |
//! | [`cli`] | the commands that look at a scaler, control it, replay and simulate |
//! | `simulate` | simulates all policies on traces |
//! | [`clock`] | the process's clock as the plan's timestamps, for all of these |
//! | `histories` | tests: plans over random histories of the simulated cloud |

pub mod cli;
pub mod clock;
pub mod config;
pub mod decision_log;
pub mod execute;
pub mod fleet;
pub mod lease;
mod metrics;
pub use scaler_plan as plan;
pub mod rpc;
mod run;
use scaler_simulate as simulate;

#[cfg(test)]
mod histories;

pub use config::Config;
pub use run::run;
