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

#[test]
fn a_folder_without_people_is_an_error() {
    let folder = TempDir::new().expect("a temporary folder");
    let output = evaluate(folder.path(), &[]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no folders"));
}

fn evaluate(photos: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["evaluate", "--engine", "native"])
        .arg("--photos")
        .arg(photos)
        .arg("--models")
        .arg(common::bundle())
        .args(arguments)
        .output()
        .expect("worker starts")
}
