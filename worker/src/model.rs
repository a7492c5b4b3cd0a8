//! Model bundles: a folder with the networks' weights and what they want, and the files that bundles are made of.

pub mod bundle;
pub mod calibrate;
pub mod convert;
pub mod weights;
