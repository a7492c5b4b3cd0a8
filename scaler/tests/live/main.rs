//! The real scaler, over real sockets, in a local cloud whose instances run `sleep`. The workers only attend.

#![allow(clippy::unwrap_used)]

mod execution;
mod handshake;
mod lease;
mod scaling;
mod stage;
mod worker;
