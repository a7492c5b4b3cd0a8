//! The worker as a member of the fleet: a real worker against localcloud.

mod attend;
mod jobs;
mod support;
