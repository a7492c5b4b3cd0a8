//! The real scaler, over real sockets, in a local cloud whose instances run `sleep`. The workers only attend and report.

#![allow(clippy::unwrap_used)]

mod admission;
mod bursts;
mod control;
mod cordoning;
mod execution;
mod explaining;
mod faults;
mod frames;
mod front;
mod learned;
mod lease;
mod outdated;
mod ownership;
mod preflight;
mod scaling;
mod shared_demand;
mod stage;
mod wait;
mod worker;
