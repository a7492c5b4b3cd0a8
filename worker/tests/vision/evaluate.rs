//! `worker evaluate` on the sample photos and on folders of its own.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::common;

/// The reference gets 25, 118, .9813 at 1.21, .049 and .930.
#[test]
fn the_sample_photos_are_told_apart_as_well_as_by_the_reference() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("report.json");
    let output = evaluate(
        &common::photos(),
        &["--json", file.to_str().expect("UTF-8")],
    );
    assert!(output.status.success(), "{output:?}");
    let report = std::fs::read(file).expect("the report was written");
    let report: Value = serde_json::from_slice(&report).expect("it is JSON");
    let number = |path: &str| {
        let value = report.pointer(path).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no number at {path} in {report}"))
    };
    let share = |path: &str| {
        (
            number(&format!("{path}/count")),
            number(&format!("{path}/of")),
        )
    };
    assert_eq!((number("/faces"), number("/people")), (118.0, 5.0));
    assert_eq!(report["without_face"], Value::Array(Vec::new()));
    assert_eq!(share("/validation"), (25.0, 25.0));
    let (right, all) = share("/leave_one_out");
    assert!(right >= 116.0 && all == 118.0, "{right} of {all}");
    let pairs = (
        number("/verification/same_pairs"),
        number("/verification/different_pairs"),
    );
    assert_eq!(pairs, (1354.0, 5549.0));
    assert!(number("/verification/best_accuracy/accuracy") > 0.978);
    assert!((number("/verification/best_accuracy/distance") - 1.21).abs() < 0.05);
    assert!(number("/verification/equal_error_rate/rate") < 0.055);
    assert!(number("/verification/accept_rates/0/true_accept_rate") > 0.91);
    assert!(share("/open_set/known_accepted").0 >= 116.0);
    assert!(share("/open_set/strangers_refused").0 >= 116.0);
}

#[test]
fn photos_without_splits_are_evaluated_and_those_without_a_face_are_listed() {
    let folder = two_people();
    std::fs::write(folder.path().join("madonna/note.txt"), "not a photo").expect("a file");
    let output = evaluate(folder.path(), &[]);
    let table = String::from_utf8_lossy(&output.stdout);
    for expected in [
        "4 of 2 people, and 1 without a face",
        "note.txt: the file is not a JPEG, PNG or WebP image",
        "not split",
        "2 same, 4 different",
    ] {
        assert!(table.contains(expected), "no {expected:?} in {table}");
    }
}

/// Subfolders were taken for people, and the person above them for a split.
#[test]
fn a_nas_folder_is_skipped_and_subfolders_are_read() {
    let folder = two_people();
    let person = folder.path().join("madonna");
    let photo = std::fs::read_dir(&person).expect("a folder").next();
    let photo = photo.expect("a photo").expect("an entry").path();
    for below in ["@eaDir", ".cache", "on tour"] {
        let below = person.join(below);
        std::fs::create_dir(&below).expect("a folder");
        std::fs::copy(&photo, below.join("photo.jpg")).expect("a copy");
    }
    std::fs::remove_file(&photo).expect("it is in the subfolder");
    std::fs::create_dir(folder.path().join("@eaDir")).expect("a folder");
    let output = evaluate(folder.path(), &[]);
    let table = String::from_utf8_lossy(&output.stdout);
    for expected in [
        "4 of 2 people, and 0 without a face",
        "not split",
        "2 same, 4 different",
    ] {
        assert!(table.contains(expected), "no {expected:?} in {table}");
    }
    let log = String::from_utf8_lossy(&output.stderr);
    for skipped in ["madonna/@eaDir", "madonna/.cache"] {
        assert!(log.contains(skipped), "no {skipped:?} in {log}");
    }
}

#[test]
fn a_folder_without_people_is_an_error() {
    let folder = TempDir::new().expect("a temporary folder");
    let output = evaluate(folder.path(), &[]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no folders"));
}

/// A cosine distance of 0.594 is a Euclidean one of 1.09, the threshold of the bundle.
#[test]
fn evaluate_measures_in_the_bundles_distance() {
    let folder = two_people();
    let bundle = common::bundle_with(|description| {
        description["distance"] = "cosine".into();
        description["threshold"] = 0.594.into();
    });
    let file = bundle.path().join("report.json");
    let json = ["--json", file.to_str().expect("UTF-8")];
    let by_cosine = evaluate_with(bundle.path(), folder.path(), &json);
    let table = String::from_utf8_lossy(&by_cosine.stdout);
    assert!(
        table.contains("distances                   cosine"),
        "{table}"
    );
    let by_cosine = std::fs::read(&file).expect("the report was written");
    let by_cosine: Value = serde_json::from_slice(&by_cosine).expect("it is JSON");
    assert_eq!(by_cosine["distance"], "cosine");

    evaluate(folder.path(), &json);
    let euclidean = std::fs::read(&file).expect("the report was written");
    let euclidean: Value = serde_json::from_slice(&euclidean).expect("it is JSON");
    assert_eq!(euclidean["distance"], "euclidean");
    for share in ["known_accepted", "strangers_refused"] {
        let of = |report: &Value| report["open_set"][share].clone();
        assert_eq!(of(&by_cosine), of(&euclidean), "{share}");
    }
    let best = |report: &Value| {
        let distance = report.pointer("/verification/best_accuracy/distance");
        distance.and_then(Value::as_f64).expect("a distance")
    };
    let expected = best(&euclidean).powi(2) / 2.0;
    assert!((best(&by_cosine) - expected).abs() < 1e-5);
}

/// A folder with two photos of each of two people.
fn two_people() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for name in ["elton_john", "madonna"] {
        let person = folder.path().join(name);
        std::fs::create_dir(&person).expect("a folder");
        let photos = std::fs::read_dir(common::photos().join("val").join(name));
        for photo in photos.expect("sample photos").take(2) {
            let photo = photo.expect("an entry");
            std::fs::copy(photo.path(), person.join(photo.file_name())).expect("a copy");
        }
    }
    folder
}

fn evaluate(photos: &Path, arguments: &[&str]) -> Output {
    evaluate_with(&common::bundle(), photos, arguments)
}

fn evaluate_with(bundle: &Path, photos: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["evaluate", "--engine", "native"])
        .arg("--photos")
        .arg(photos)
        .arg("--models")
        .arg(bundle)
        .args(arguments)
        .output()
        .expect("worker starts")
}
