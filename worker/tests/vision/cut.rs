//! Mapped files that are cut, while a process uses them or before it starts.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use worker::vision::{BundleDescription, Gallery, Precision};

use crate::common;

/// Workers ended by SIGBUS without a word, one after another.
#[test]
fn a_worker_whose_weights_are_cut_in_use_ends_with_a_line_that_names_the_file() {
    let (bundle, weights) = bundle_with_own_weights();
    let photos = worker::enrol::photos_below(&common::photos().join("val")).expect("photos");
    let photo = std::fs::read(&photos[0]).expect("a photo");
    let mut worker = Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["ready", "--engine", "native", "--precision", "fp32"])
        .args(["--without-gallery", "/dev/stdin", "--models"])
        .arg(bundle.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("worker starts");
    let mut ready = String::new();
    let output = worker.stdout.take().expect("a pipe");
    let mut output = BufReader::new(output);
    output.read_line(&mut ready).expect("a line");
    assert!(ready.contains("runs_on"), "{ready}");

    // It waits for the end of its photo.
    cut(&weights, 0);
    let mut input = worker.stdin.take().expect("a pipe");
    input.write_all(&photo).expect("it reads");
    drop(input);

    let ended = worker.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    // Of several threads each may write a line.
    let line = text.lines().last().unwrap_or_default();
    let path = weights.canonicalize().expect("it is there");
    let expected = format!("the mapped file {} was cut while", path.display());
    assert!(line.contains(&expected), "{text}");
    assert_eq!(ended.status.code(), Some(1), "{}: {text}", ended.status);
}

#[test]
fn a_worker_refuses_weights_that_were_cut_before_it_started() {
    let (bundle, weights) = bundle_with_own_weights();
    let length = length(&weights);
    for left in [length - 1, length / 2, 9, 3, 0] {
        cut(&weights, left);
        let error = common::load(bundle.path(), Gallery::default(), Some(Precision::Fp32))
            .expect_err("it is cut");
        let expected = format!("{} is not a safetensors file", weights.display());
        assert!(error.to_string().contains(&expected), "{left}: {error}");
    }
}

#[test]
fn a_worker_refuses_a_gallery_that_was_cut_before_it_started() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("gallery.safetensors");
    let mut gallery = Gallery::new(3);
    gallery.push("somebody", &[1.0, 0.0, 0.0]);
    gallery.save(&path).expect("it can be written");
    let length = length(&path);
    for left in [length - 1, length / 2, 9, 3, 0] {
        cut(&path, left);
        let error = Gallery::load(&path).expect_err("it is cut");
        let expected = format!("{}: not a gallery file", path.display());
        assert!(error.to_string().contains(&expected), "{left}: {error}");
    }
}

/// A copy of the bundle whose weights for floats are no link, and their path.
fn bundle_with_own_weights() -> (TempDir, PathBuf) {
    let bundle = common::bundle_with(|_| {});
    let description = BundleDescription::load(bundle.path()).expect("a description");
    let path = bundle.path().join(description.embedder);
    let bytes = std::fs::read(&path).expect("the original's weights");
    std::fs::remove_file(&path).expect("it is a link");
    std::fs::write(&path, bytes).expect("it can be written");
    (bundle, path)
}

/// Leaves so many bytes of a file, in place.
fn cut(path: &Path, left: u64) {
    let file = OpenOptions::new().write(true).open(path);
    let file = file.expect("it is there");
    file.set_len(left).expect("it is ours");
}

fn length(path: &Path) -> u64 {
    let found = File::open(path).and_then(|file| file.metadata());
    found.expect("a file").len()
}
