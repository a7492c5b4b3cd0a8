//! The functions against localcloud, with the real AWS SDK, from event to result.

mod clips;
mod cloud;
mod end_to_end;
mod events;
mod hostile;
mod recognition;
mod splitting;
mod stand_in;
mod stream;
