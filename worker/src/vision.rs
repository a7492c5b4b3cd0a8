//! Face recognition in one process: decode, detect, cut out, embed, match. It knows nothing of queues or services.
//!
//! ```text
//! bytes ──decode──▶ Photo ──detect──▶ Face ──crop──▶ FaceCrop ──embed──▶ Embedding ──Gallery::nearest──▶ name
//! ```

mod arenas;
pub mod bundle;
pub mod convert;
pub mod crop;
pub mod detect;
pub mod embed;
pub mod engine;
pub mod enrol;
pub mod evaluate;
pub mod gallery;
pub mod geometry;
pub mod recogniser;
pub mod weights;

pub use crate::kernels::{self as native, area, panels};
pub use bundle::{Bundle, BundleDescription, LoadError};
pub use engine::{Engine, EngineName, EngineOptions, Precision};
pub use enrol::{EnrolError, enrol};
pub use gallery::Gallery;
pub use geometry::{BoundingBox, Face, Point};
pub use recogniser::{Embedded, Engines, Recognised, Recogniser, Timings, UNKNOWN, VisionError};
