//! The model and the sample photos that `scripts/setup` puts into `.local`.

use std::fs;
use std::path::{Path, PathBuf};

/// Folder of the model bundle; `MUSTER_MODELS` overrides it.
pub fn models() -> PathBuf {
    folder("MUSTER_MODELS", "models/facenet128", "bundle.json")
}

/// Folder of the sample photos, `train/<person>/` and `val/<person>/`; `MUSTER_PHOTOS` overrides it.
pub fn photos() -> PathBuf {
    folder("MUSTER_PHOTOS", "photos", "train")
}

/// The validation photos with the person in each, in order of their paths.
pub fn validation_photos() -> Vec<(String, PathBuf)> {
    let people = entries(&photos().join("val"));
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

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
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
        "{} has no {content}: run scripts/setup",
        folder.display()
    );
    folder
}
