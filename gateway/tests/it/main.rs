//! The real gateway and front, on ephemeral ports, against a local cloud; workers are simulated, their queues are not.

#![allow(clippy::unwrap_used)]

mod access;
#[path = "../../../platform/tests/support/authority.rs"]
mod authority;
mod bad_input;
mod delivery;
mod health;
mod names;
mod overload;
mod photos;
mod protocol;
#[path = "../../../platform/tests/support/redis_server.rs"]
mod redis_server;
mod several_fronts;
mod stack;
mod uploads;
mod worker;
