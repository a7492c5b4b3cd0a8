//! Face recognition in one process: decode, detect, crop, embed, match. It knows nothing of queues or services.
//!
//! ```text
//! bytes ──decode──▶ Photo ──detect──▶ Face ──crop──▶ FaceCrop ──embed──▶ Embedding ──Gallery::nearest──▶ name
//! ```
//!
//! [`recognizer`] is the whole way, and each step is a module. Decoding is the crate `photo`, which front uses too. The
//! networks of `detect` and `embed` are run by an [`engine`].

mod arenas;
pub mod crop;
pub mod detect;
pub mod embed;
pub mod engine;
pub mod gallery;
pub mod geometry;
pub mod recognizer;

pub use crate::model::bundle::{Bundle, BundleDescription, LoadError, Precision};
pub use engine::{Engine, EngineName, EngineOptions};
pub use gallery::Gallery;
pub use geometry::{BoundingBox, Face, Point};
pub use recognizer::{
    Candidate, Embedded, Engines, NamedFace, Recognized, Recognizer, Timings, UNKNOWN, VisionError,
};
