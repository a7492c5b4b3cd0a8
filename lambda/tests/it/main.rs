//! The functions against localcloud, with the real AWS SDK, from event to result.

mod cloud;
mod events;
mod recognition;
mod stream;
