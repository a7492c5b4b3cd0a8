//! The real gateway and front, on ephemeral ports, against a local cloud; workers are simulated, their queues are not.

#![allow(clippy::unwrap_used)]

mod access;
mod bad_input;
mod delivery;
mod health;
mod names;
mod overload;
mod photos;
mod protocol;
mod several_fronts;
mod stack;
mod uploads;
mod worker;
