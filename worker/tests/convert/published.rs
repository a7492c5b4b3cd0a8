//! The published weights that set-up fetches.

use std::fs;

use safetensors::SafeTensors;
use tempfile::TempDir;
use worker::model::bundle::BundleDescription;
use worker::prepare::convert::{BundleOptions, DetectorSource, convert_keras};

use crate::common;

/// `scripts/model` makes the bundle by the same way, once; a bundle in the cache may be older than this code.
#[test]
fn the_bundle_holds_what_the_published_weights_convert_to() {
    let (folder, weights) = (
        TempDir::new().expect("a temporary folder"),
        common::weights(),
    );
    let options = BundleOptions {
        name: "facenet128".to_owned(),
        threshold: 1.09,
        detector: DetectorSource::Mtcnn(weights.clone()),
        source: None,
    };
    let file = weights.join("facenet_keras.h5");
    let made = convert_keras(&file, folder.path(), &options).expect("it converts");

    let bundle = common::bundle();
    let used = BundleDescription::load(&bundle).expect("the bundle has a description");
    assert_eq!(made.preprocessing, used.preprocessing);
    assert_eq!(made.embedding_size, used.embedding_size);
    for (made, used) in [
        (made.embedder, used.embedder),
        (made.pnet, used.pnet),
        (made.rnet, used.rnet),
        (made.onet, used.onet),
    ] {
        let made = fs::read(folder.path().join(&made)).expect("it was written");
        let used = fs::read(bundle.join(&used)).expect("the bundle has it");
        let made = SafeTensors::deserialize(&made).expect("a safetensors file");
        let used = SafeTensors::deserialize(&used).expect("a safetensors file");
        assert_eq!(made.len(), used.len());
        for (name, tensor) in used.tensors() {
            assert!(
                made.tensor(&name).expect("the same tensors") == tensor,
                "{name}"
            );
        }
    }
}
