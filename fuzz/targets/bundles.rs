//! The files of a bundle and of a gallery. An input's first byte tells the kind: `w` for weights, `g` for a gallery, all
//! else for `bundle.json`.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use muster_fuzz::worker::model::bundle::BUNDLE_FILE;
use muster_fuzz::worker::model::weights::WeightFile;
use muster_fuzz::worker::vision::{BundleDescription, Gallery};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a folder for temporary files"));

fuzz_target!(|input: &[u8]| {
    let Some((kind, file)) = input.split_first() else {
        return;
    };
    let path = FOLDER.path().join(BUNDLE_FILE);
    std::fs::write(&path, file).expect("the folder is there");
    match kind {
        b'w' => weights(&path),
        b'g' => gallery(&path),
        _ => description(FOLDER.path()),
    }
});

fn weights(path: &Path) {
    let Ok(file) = WeightFile::open(path) else {
        return;
    };
    let shape = [2, 3];
    let values = file.values("floats", &shape);
    if let Ok(mapped) = file.mapped::<f32>("floats", &shape) {
        let values = values.expect("it can be mapped");
        let bits = |number: &f32| number.to_bits();
        assert!(values.iter().map(bits).eq(mapped.iter().map(bits)));
    }
    if let Ok(mapped) = file.mapped::<i8>("bytes", &[4]) {
        assert_eq!(mapped.len(), 4);
    }
    let _ = file.copy("floats");
}

fn gallery(path: &Path) {
    let Ok(gallery) = Gallery::load(path) else {
        return;
    };
    for (_, embedding) in gallery.rows().take(3) {
        let _ = gallery.nearest(embedding);
    }
    gallery.save(path).expect("the folder is there");
    let again = Gallery::load(path).expect("what was saved is read");
    assert!(gallery.rows().eq(again.rows()));
}

fn description(folder: &Path) {
    let Ok(description) = BundleDescription::load(folder) else {
        return;
    };
    description.save(folder).expect("the folder is there");
    assert_eq!(
        BundleDescription::load(folder).expect("what was saved is read"),
        description
    );
}
