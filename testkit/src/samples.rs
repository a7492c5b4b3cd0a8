//! The model, its published weights and the sample photos that `make setup` puts into `.local`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::program;

/// Returns the folder of the model bundle; `MUSTER_MODELS` overrides it.
pub fn models() -> PathBuf {
    folder("MUSTER_MODELS", "models/facenet128", "bundle.json")
}

/// Returns the folder of the published weights that the model is made from; `MUSTER_WEIGHTS` overrides it.
pub fn weights() -> PathBuf {
    folder("MUSTER_WEIGHTS", "weights", "facenet_keras.h5")
}

/// Returns the folder of the sample photos, `train/<person>/` and `val/<person>/`; `MUSTER_PHOTOS` overrides it.
pub fn photos() -> PathBuf {
    folder("MUSTER_PHOTOS", "photos", "train")
}

/// Returns the validation photos with the person in each, in order of their paths.
pub fn validation_photos() -> Vec<(String, PathBuf)> {
    photos_in("val")
}

/// Returns the photos of `train` or `val` with the person in each, in order of their paths.
pub fn photos_in(split: &str) -> Vec<(String, PathBuf)> {
    let people = entries(&photos().join(split));
    people
        .iter()
        .flat_map(|person| {
            let name = person.file_name().unwrap().to_str().unwrap();
            entries(person)
                .into_iter()
                .map(|photo| (name.to_owned(), photo))
        })
        .collect()
}

/// Returns a validation photo of this person.
pub fn photo_of(person: &str) -> Vec<u8> {
    let photos = entries(&photos().join("val").join(person));
    fs::read(&photos[0]).unwrap()
}

/// Returns a gallery file of the training photos, which the program `worker` makes once in a test's process.
pub fn gallery() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let file = |folder: &tempfile::TempDir| folder.path().join("gallery.safetensors");
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let enrolled = Command::new(program("worker"))
            .args(["enrol", "--engine", "native", "--gallery"])
            .arg(file(&folder))
            .arg("--photos")
            .arg(photos().join("train"))
            .arg("--models")
            .arg(models())
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&enrolled.stderr);
        assert!(enrolled.status.success(), "{log}");
        folder
    });
    file(folder)
}

/// Returns a clip that FFmpeg makes from a source of its filters, as an MP4 file.
pub fn clip(source: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clip.mp4");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", source])
        .arg(&file)
        .status();
    assert!(made.expect("scripts/setup installs FFmpeg").success());
    fs::read(file).unwrap()
}

/// Returns what is in a folder, in order of the names.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}: run make setup", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn folder(variable: &str, local: &str, content: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = std::env::var_os(variable)
        .map_or_else(|| workspace.join(".local").join(local), PathBuf::from);
    assert!(
        folder.join(content).exists(),
        "{} has no {content}: run make setup",
        folder.display()
    );
    folder
}
