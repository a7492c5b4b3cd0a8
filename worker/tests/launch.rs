//! `worker` is replaced by `worker-torch` for the engine torch, and says what to do if that is not possible.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

mod common;

/// A folder with a copy of `worker`. Tests take turns: a process that another test starts would inherit the copy while it
/// is open for writing, and Linux runs no such file.
struct Folder {
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Folder {
    fn with_worker() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::copy(env!("CARGO_BIN_EXE_worker"), folder.path().join("worker")).expect("copied");
        Self {
            folder,
            _turn: turn,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
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
    let folder = Folder::with_worker();
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
    let folder = Folder::with_worker();
    let output = run(folder.path(), &["recognize", "photo.jpg"]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("worker-torch is missing"), "{text}");
    assert!(text.contains("--engine native"), "{text}");
}

#[test]
fn the_native_engine_needs_nothing_else() {
    let folder = Folder::with_worker();
    let output = run(
        folder.path(),
        &[
            "recognize",
            "--engine",
            "native",
            "--models",
            "/nowhere",
            "photo.jpg",
        ],
    );
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("worker-torch"), "{text}");
}

/// Each engine is measured in a process of its own. One that cannot run says why, and the others are measured.
#[test]
fn engines_are_compared_by_figures() {
    let folder = Folder::with_worker();
    let photo = worker::enrol::photos_below(&common::photos().join("val"))
        .expect("photos")
        .remove(0);
    let models = common::bundle();
    let [photo, models] = [&photo, &models].map(|path| path.to_str().expect("text"));
    let output = run(folder.path(), &["engines", photo, "--models", models]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..2], ["engine", "precision"], "{text}");
    let of = |engine: &str, precision: &str| {
        let row = rows.iter().find(|row| row[..2] == [engine, precision]);
        row.unwrap_or_else(|| panic!("no row {engine} {precision} in {text}"))[2..].to_vec()
    };
    for precision in ["fp32", "int8"] {
        assert_eq!(of("torch", precision)[..2], ["not", "here:"], "{text}");
        let figures = of("native", precision);
        assert_eq!(figures.len(), 5, "{text}");
        for figure in &figures[1..] {
            assert!(figure.parse::<f64>().expect("a number") > 0.0, "{text}");
        }
    }
}

/// `worker engines | head` panicked.
#[test]
fn a_closed_pipe_is_no_error_for_engines() {
    let folder = Folder::with_worker();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(folder.path().join("worker"))
        .args(["engines", "photo.jpg", "--models", "missing"])
        .env_remove("MUSTER_ENGINE")
        .stdout(writer)
        .output()
        .expect("worker starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
}
