//! The scaler: moves the number of worker instances with demand, and says why.
//!
//! [`plan`] decides and is pure. Around it, [`observe`] collects what a plan is made from, [`execute`] carries it out,
//! [`attend`] talks to the workers, [`lease`] says which of several scalers acts, [`reconcile`] is the loop that joins
//! them, and [`service`] answers over gRPC from the [`board`]. The
//! scaler keeps nothing on disk: after a restart EC2, the queue and the workers tell it everything. What has to last, the
//! lease and the [`fleet_token`], is in its bucket.

pub mod access;
pub mod attend;
pub mod board;
pub mod cli;
pub mod clock;
pub mod config;
pub mod execute;
pub mod fleet_token;
pub mod lease;
pub mod metric;
pub mod observe;
pub use scaler_plan as plan;
pub mod reconcile;
pub mod replay;
pub mod run;
pub mod service;
pub use scaler_simulate as simulate;
pub mod standby;
pub mod tally;
pub mod wire;

#[cfg(test)]
mod histories;

pub use config::Config;
pub use run::run;
