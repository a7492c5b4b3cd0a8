//! Makes bundles and galleries out of published weights and embeddings ([`convert`], run by `worker convert`), and adds
//! weights for 8-bit integers to a bundle ([`calibrate`], run by `worker calibrate`).

pub mod calibrate;
pub mod convert;
