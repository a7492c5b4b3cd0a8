//! Model bundles: reading them, making them from published weights, and calibrating them for 8-bit integers.

pub mod bundle;
pub mod calibrate;
pub mod convert;
pub mod weights;
