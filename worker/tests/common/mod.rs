//! What the vision tests share. (`mod.rs`, since cargo takes `tests/common.rs` for a test of its own.)
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;
pub use testkit::samples::{models as bundle, photos};
use worker::vision::bundle::BUNDLE_FILE;
use worker::vision::engine::native::NativeEngine;
use worker::vision::{
    Engine, EngineOptions, Engines, Gallery, LoadError, Precision, Recogniser, enrol,
};

/// The bytes of a sample photo, by its path from the photos' folder.
pub fn read_photo(path: &str) -> Vec<u8> {
    std::fs::read(photos().join(path)).expect("a sample photo")
}

/// Both precisions: bytes are exact on every processor, only slower where plain Rust sums them.
pub const PRECISIONS: [Precision; 2] = [Precision::Fp32, Precision::Int8];

/// Loads a bundle into the native engine.
pub fn load(
    bundle: &Path,
    gallery: Gallery,
    precision: Option<Precision>,
) -> Result<Recogniser, LoadError> {
    load_into(&NativeEngine, bundle, gallery, precision)
}

/// Loads a bundle into an engine, its detector into the native one.
pub fn load_into(
    engine: &dyn Engine,
    bundle: &Path,
    gallery: Gallery,
    precision: Option<Precision>,
) -> Result<Recogniser, LoadError> {
    let engines = Engines {
        detector: &NativeEngine,
        embedder: engine,
    };
    let options = EngineOptions {
        precision,
        ..EngineOptions::default()
    };
    Recogniser::load(bundle, gallery, engines, &options)
}

/// A recogniser that knows nobody.
pub fn recogniser() -> Recogniser {
    load(&bundle(), Gallery::default(), None).expect("the bundle loads")
}

/// A recogniser that knows nobody, in the precision given.
pub fn recogniser_in(precision: Precision) -> Recogniser {
    load(&bundle(), Gallery::default(), Some(precision))
        .expect("the bundle loads; `worker calibrate --for-other-machines` makes its int8 weights")
}

/// A recogniser that knows the people of the training photos, who are enrolled once.
pub fn enrolled_recogniser() -> Recogniser {
    enrolled_recogniser_in(recogniser().precision())
}

/// As `enrolled_recogniser`, in the precision given.
pub fn enrolled_recogniser_in(precision: Precision) -> Recogniser {
    static GALLERIES: [OnceLock<Gallery>; 2] = [const { OnceLock::new() }; 2];
    let mut recogniser = recogniser_in(precision);
    let gallery = GALLERIES[precision as usize].get_or_init(|| {
        let (gallery, skipped) =
            enrol(&photos().join("train"), &recogniser).expect("the training photos enrol");
        assert_eq!((gallery.len(), skipped.len()), (93, 0));
        gallery
    });
    recogniser.set_gallery(gallery.clone());
    recogniser
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
