//! The worker: takes jobs from the request queue, recognises the face on each photo, and replies.

pub mod cli;
pub mod kernels;
pub mod service;
pub mod vision;
