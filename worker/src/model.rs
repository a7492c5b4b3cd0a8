//! Model bundles: reading and writing them.

pub mod bundle;
pub mod weights;
