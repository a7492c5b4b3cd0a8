//! The gateway and front on ephemeral ports, with a local cloud. Only the workers are simulated.

#![allow(clippy::unwrap_used)]

mod access;
mod account;
mod bad_input;
mod clips;
mod delivery;
mod health;
mod names;
mod overload;
mod page;
mod photos;
mod process;
mod protocol;
mod results;
mod scaler;
mod several_fronts;
mod stack;
mod uploads;
mod videos;
mod worker;
