//! The functions against localcloud, with the real AWS SDK, from event to result.

#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

mod clips;
mod cloud;
mod end_to_end;
mod events;
mod hostile;
mod recognition;
mod splitting;
mod stand_in;
mod stream;
