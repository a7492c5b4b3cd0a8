//! The worker: takes jobs from the request queue, recognizes the face on each photo, and replies.
//!
//! | module | what it does |
//! |---|---|
//! | [`cli`] | the command line: `worker serve`, `recognize`, `enrol`, `convert`, `calibrate`, ... |
//! | [`service`] | a worker of the fleet: jobs, leases, replies, the scaler's orders, EC2's notices |
//! | [`vision`] | one photo: decode, detect, crop, embed, search the gallery; the engines that run the networks |
//! | [`model`] | model bundles: reading and writing them |
//! | [`prepare`] | making bundles: converting published weights, calibrating for 8-bit integers |
//! | [`frames`] | results as messages: of a photo, and of all faces of a clip's frame |
//! | [`video`] | a whole clip: its timeline and its contact sheet |
//! | [`enrol`] | a gallery from a folder of photos |
//! | [`evaluate`] | how well a model tells people apart |
//! | [`kernels`] | the native engine's hand-written loops |

pub mod cli;
pub mod enrol;
pub mod evaluate;
pub mod frames;
pub mod kernels;
pub mod model;
pub mod prepare;
pub mod service;
pub mod video;
pub mod vision;
