//! The real scaler, over real sockets, in a local cloud whose instances run `sleep`. The workers only attend.

#![allow(clippy::unwrap_used)]

mod admission;
mod bursts;
mod execution;
mod explaining;
mod handshake;
mod lease;
mod orders;
mod scaling;
mod shared_demand;
mod stage;
mod unkind;
mod worker;
