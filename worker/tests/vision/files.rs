//! Bundles and galleries that are missing, damaged or made for another model.

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;
use worker::vision::{EngineName, Gallery, LoadError, Precision};

use crate::common;

#[test]
fn a_gallery_comes_back_as_it_was_saved() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("gallery.safetensors");
    let mut gallery = Gallery::new(3);
    gallery.push("Zoë \"Z\" O'Neil", &[0.0, 0.6, 0.8]);
    gallery.push("somebody", &[1.0, 0.0, 0.0]);
    gallery.push("somebody", &[0.0, 1.0, 0.0]);
    gallery.save(&path).expect("it can be written");
    assert_eq!(Gallery::load(&path).expect("it can be read"), gallery);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        1,
        "nothing is left beside it"
    );
}

/// Services run as a user who is neither root nor the one who enrols. Only root can give a file to another user.
#[test]
fn a_gallery_keeps_owner_and_mode() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("gallery.safetensors");
    let mut gallery = Gallery::new(2);
    gallery.push("somebody", &[1.0, 0.0]);
    gallery.save(&path).expect("it can be written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("it is ours");
    // Refused unless root runs the test.
    let _ = std::os::unix::fs::chown(&path, Some(4711), Some(4712));
    let of = |path: &Path| {
        let found = std::fs::metadata(path).expect("a file");
        (found.uid(), found.gid(), found.mode() & 0o777)
    };
    let before = of(&path);
    gallery.push("another", &[0.0, 1.0]);
    gallery.save(&path).expect("it can be written");
    assert_eq!(of(&path), before);
    assert_eq!(Gallery::load(&path).expect("it can be read"), gallery);

    // A folder cannot be replaced by a file.
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).expect("a new folder");
    gallery.save(&taken).expect_err("it is a folder");
    let entries = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(entries, 2, "a failed attempt leaves nothing");
}

#[test]
fn the_nearest_row_wins() {
    let mut gallery = Gallery::new(20);
    let axis =
        |index: usize| -> Vec<f32> { (0..20).map(|other| f32::from(other == index)).collect() };
    assert!(gallery.nearest(&axis(0)).is_none());
    gallery.push("first", &axis(3));
    gallery.push("second", &axis(18));
    gallery.push("a double", &axis(18));
    let nearest = gallery.nearest(&axis(18)).expect("three rows");
    assert_eq!((nearest.name, nearest.distance), ("second", 0.0));
    let nearest = gallery.nearest(&axis(7)).expect("three rows");
    assert_eq!(nearest.name, "first");
    assert!((nearest.distance - 2f32.sqrt()).abs() < 1e-6);
}

#[test]
fn a_gallery_that_cannot_be_used_says_why() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("gallery.safetensors");
    assert!(matches!(Gallery::load(&path), Err(LoadError::Read { .. })));
    let reason = |content: &[u8]| {
        std::fs::write(&path, content).expect("it can be written");
        Gallery::load(&path)
            .expect_err("it cannot be used")
            .to_string()
    };
    assert!(reason(b"hello").contains("not a gallery file"));
    let one = [0u8; 8];
    let not_finite = [f32::NAN.to_le_bytes(), 1f32.to_le_bytes()].concat();
    for (tensor, shape, bytes, names, expected) in [
        (
            "weights",
            vec![1, 2],
            one.as_slice(),
            Some("[\"a\"]"),
            "no tensor embeddings",
        ),
        (
            "embeddings",
            vec![2],
            &one,
            Some("[\"a\"]"),
            "expected [rows, dimension]",
        ),
        (
            "embeddings",
            vec![2, 1],
            &one,
            Some("[\"a\"]"),
            "expected float32 with 1 rows",
        ),
        ("embeddings", vec![1, 2], &one, None, "no names"),
        ("embeddings", vec![1, 2], &one, Some("{}"), "names: "),
        (
            "embeddings",
            vec![1, 2],
            &not_finite,
            Some("[\"a\"]"),
            "not finite",
        ),
    ] {
        let view = TensorView::new(Dtype::F32, shape, bytes).expect("a tensor");
        let metadata = names.map(|names| HashMap::from([("names".to_owned(), names.to_owned())]));
        let file = safetensors::serialize([(tensor, view)], metadata).expect("a file");
        assert!(
            reason(&file).contains(expected),
            "{} should tell {expected}",
            reason(&file)
        );
    }
}

#[test]
fn a_gallery_of_another_model_is_refused() {
    let mut gallery = Gallery::new(512);
    gallery.push("somebody", &[0.0; 512]);
    let error = common::load(&common::bundle(), gallery, None).expect_err("128 is not 512");
    assert!(
        matches!(
            error,
            LoadError::GalleryMismatch {
                gallery: 512,
                expected: 128,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_missing_bundle_names_the_file() {
    let error = common::load(Path::new("/nowhere"), Gallery::default(), None)
        .expect_err("there is nothing");
    assert_eq!(
        error.to_string().split(": ").next(),
        Some("cannot read /nowhere/bundle.json")
    );
}

#[test]
fn a_bundle_with_impossible_numbers_is_refused() {
    for (field, value) in [
        ("format", 1),
        ("input_size", 10),
        ("crop_margin", 160),
        ("embedding_size", 0),
        ("threshold", 0),
    ] {
        let bundle = common::bundle_with(|description| description[field] = value.into());
        let error =
            common::load(bundle.path(), Gallery::default(), None).expect_err("it cannot be used");
        assert!(
            matches!(error, LoadError::Invalid { .. }) && error.to_string().contains(field),
            "{error}"
        );
    }
}

#[test]
fn a_tensor_of_another_shape_is_named_with_the_shape_expected() {
    let bundle = common::bundle_with(|description| description["embedding_size"] = 512.into());
    for precision in common::PRECISIONS {
        let text = refusal(&bundle, precision);
        let expected =
            "last_linear.weight is F32 [4, 1, 1, 1792, 32], expected float32 [16, 1, 1, 1792, 32]";
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_missing_tensor_and_a_damaged_file_are_named() {
    for (precision, field, missing) in [
        (
            Precision::Fp32,
            "embedder",
            "conv2d_1a.weight (expected float32 [1, 3, 3, 3, 32])",
        ),
        (
            Precision::Int8,
            "embedder_int8",
            "activation_scales (expected float32 [104])",
        ),
    ] {
        let bundle =
            common::bundle_with(|description| description[field] = "onet.safetensors".into());
        let text = refusal(&bundle, precision);
        assert!(text.contains(&format!("has no tensor {missing}")), "{text}");
        let bundle = common::bundle_with(|description| description[field] = "bundle.json".into());
        let text = refusal(&bundle, precision);
        assert!(
            text.contains("bundle.json is not a safetensors file"),
            "{text}"
        );
    }
    let bundle = common::bundle_with(|description| description["rnet"] = "bundle.json".into());
    let text = refusal(&bundle, Precision::Fp32);
    assert!(
        text.contains("bundle.json is not a safetensors file"),
        "{text}"
    );
}

#[test]
fn a_bundle_with_weights_for_8_bit_integers_alone_uses_them_and_says_so_when_asked_for_floats() {
    let bundle = common::bundle_with(|description| description["embedder"] = "absent".into());
    let recognizer = common::load(bundle.path(), Gallery::default(), None).expect("it loads");
    assert_eq!(recognizer.precision(), Precision::Int8);
    let text = refusal(&bundle, Precision::Fp32);
    assert!(
        text.contains("absent is missing: the model facenet128 is here with weights for 8-bit"),
        "{text}"
    );
}

#[test]
fn a_bundle_that_is_not_calibrated_computes_in_floats_and_says_so_when_asked_for_bytes() {
    let bundle = common::bundle_with(|description| {
        description
            .as_object_mut()
            .expect("an object")
            .remove("embedder_int8");
    });
    let recognizer = common::load(bundle.path(), Gallery::default(), None).expect("it loads");
    assert_eq!(recognizer.engine(), EngineName::Native);
    assert_eq!(recognizer.precision(), Precision::Fp32);
    let text = refusal(&bundle, Precision::Int8);
    assert!(
        text.contains("facenet128 is not calibrated for int8: run `worker calibrate`"),
        "{text}"
    );
}

fn refusal(bundle: &TempDir, precision: Precision) -> String {
    common::load(bundle.path(), Gallery::default(), Some(precision))
        .expect_err("it cannot be used")
        .to_string()
}

#[test]
fn calibrate_names_the_file_that_it_cannot_read() {
    let (bundle, photos) = (
        common::bundle_with(|_| {}),
        TempDir::new().expect("a temporary folder"),
    );
    let photo = photos.path().join("moved.jpg");
    std::os::unix::fs::symlink("/nowhere/moved.jpg", &photo).expect("a link");
    let output = Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["calibrate", "--engine", "native", "--force"])
        .arg("--for-other-machines")
        .arg("--models")
        .arg(bundle.path())
        .arg("--photos")
        .arg(photos.path())
        .output()
        .expect("worker starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&photo.display().to_string()), "{text}");
}
