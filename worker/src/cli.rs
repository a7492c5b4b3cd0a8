//! The subcommands that are more than a few lines.

pub mod calibrate;
pub mod convert;
pub mod evaluate;
pub mod ready;
