//! The worker as a member of the fleet, against localcloud.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod attend;
mod concurrency;
mod frames;
mod jobs;
mod notices;
mod support;
