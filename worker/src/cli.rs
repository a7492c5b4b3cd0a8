//! The subcommands that are more than a call.

pub mod calibrate;
pub mod evaluate;
pub mod ready;
