//! `worker` hands over to `worker-torch` for the engine torch, and says what to do where that cannot be.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A copy of `worker` in a folder of its own.
fn folder_with_worker() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    std::fs::copy(env!("CARGO_BIN_EXE_worker"), folder.path().join("worker")).expect("copied");
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(folder.join("worker"))
        .args(arguments)
        .env_remove("MUSTER_ENGINE")
        .output()
        .expect("worker starts")
}

#[test]
fn the_program_of_the_engine_takes_over_with_the_same_arguments() {
    let folder = folder_with_worker();
    let program = folder.path().join("worker-torch");
    std::fs::write(&program, "#!/bin/sh\necho \"took over: $*\"\nexit 3\n").expect("written");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("executable");
    let output = run(folder.path(), &["recognize", "a photo.jpg"]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, "took over: recognize a photo.jpg\n");
}

#[test]
fn without_that_program_one_line_says_what_to_do() {
    let folder = folder_with_worker();
    let output = run(folder.path(), &["recognize", "photo.jpg"]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("worker-torch is not there"), "{text}");
    assert!(text.contains("--engine native"), "{text}");
}

#[test]
fn the_native_engine_needs_nothing_else() {
    let folder = folder_with_worker();
    let output = run(folder.path(), &["recognize", "--engine", "native", "--models", "/nowhere", "photo.jpg"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("worker-torch"), "{text}");
}
