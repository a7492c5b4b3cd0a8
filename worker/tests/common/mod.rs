//! Shared by the tests. (`mod.rs`, since cargo takes `tests/common.rs` for a test of its own.)
#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;
pub use testkit::samples::{models as bundle, photos, weights};
use worker::enrol::enrol;
use worker::model::bundle::BUNDLE_FILE;
use worker::vision::engine::native::NativeEngine;
use worker::vision::{Engine, EngineOptions, Engines, Gallery, LoadError, Precision, Recognizer};

/// The bytes of a sample photo, by its path from the photos' folder.
pub fn read_photo(path: &str) -> Vec<u8> {
    std::fs::read(photos().join(path)).expect("a sample photo")
}

/// Both precisions. Sums of bytes are exact on every processor.
pub const PRECISIONS: [Precision; 2] = [Precision::Fp32, Precision::Int8];

/// Loads a bundle into the native engine.
pub fn load(
    bundle: &Path,
    gallery: Gallery,
    precision: Option<Precision>,
) -> Result<Recognizer, LoadError> {
    load_into(&NativeEngine, bundle, gallery, precision)
}

/// Loads a bundle into an engine, its detector into the native one.
pub fn load_into(
    engine: &dyn Engine,
    bundle: &Path,
    gallery: Gallery,
    precision: Option<Precision>,
) -> Result<Recognizer, LoadError> {
    let engines = Engines {
        detector: &NativeEngine,
        embedder: engine,
    };
    let options = EngineOptions {
        precision,
        ..EngineOptions::default()
    };
    Recognizer::load(bundle, gallery, engines, &options)
}

/// A recognizer with an empty gallery.
pub fn recognizer() -> Recognizer {
    load(&bundle(), Gallery::default(), None).expect("the bundle loads")
}

/// A recognizer with an empty gallery, in this precision.
pub fn recognizer_in(precision: Precision) -> Recognizer {
    load(&bundle(), Gallery::default(), Some(precision))
        .expect("the bundle loads; `worker calibrate --for-other-machines` makes its int8 weights")
}

/// A recognizer with the people of the training photos, who are enrolled once.
pub fn enrolled_recognizer() -> Recognizer {
    enrolled_recognizer_in(recognizer().precision())
}

/// As `enrolled_recognizer`, in this precision.
pub fn enrolled_recognizer_in(precision: Precision) -> Recognizer {
    static GALLERIES: [OnceLock<Gallery>; 2] = [const { OnceLock::new() }; 2];
    let mut recognizer = recognizer_in(precision);
    let gallery = GALLERIES[precision as usize].get_or_init(|| {
        let (gallery, skipped) =
            enrol(&photos().join("train"), &recognizer).expect("the training photos enrol");
        assert_eq!((gallery.len(), skipped.len()), (93, 0));
        gallery
    });
    recognizer.set_gallery(gallery.clone());
    recognizer
}

/// A copy of the bundle with another description; its weights are links.
pub fn bundle_with(change: impl FnOnce(&mut Value)) -> TempDir {
    let original = bundle();
    let copy = TempDir::new().expect("a temporary folder");
    for entry in std::fs::read_dir(&original).expect("the bundle is a folder") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            let link = copy
                .path()
                .join(path.file_name().expect("a file has a name"));
            std::os::unix::fs::symlink(path.canonicalize().expect("it exists"), link)
                .expect("a link");
        }
    }
    let text = std::fs::read(original.join(BUNDLE_FILE)).expect("the bundle has a description");
    let mut description: Value = serde_json::from_slice(&text).expect("it is JSON");
    change(&mut description);
    std::fs::write(copy.path().join(BUNDLE_FILE), description.to_string())
        .expect("it can be written");
    copy
}
