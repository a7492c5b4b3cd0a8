//! Makes a gallery from a folder of photos: `DIR/<name>/*`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::vision::{Gallery, Recognizer};

/// Why no gallery can be made from a folder.
#[derive(Debug, Error)]
pub enum EnrolError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0} has no folders; photos are expected in {0}/<name>/")]
    NoPeople(PathBuf),
    #[error("no photo of {name} shows a face ({photos} tried)")]
    NoFace { name: String, photos: usize },
}

/// A photo that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub path: PathBuf,
    pub reason: String,
}

/// Makes one row for each photo, named by the photo's folder in `folder`. Photos that cannot be decoded or show no face
/// are left out and returned.
///
/// # Errors
/// When a file cannot be read, there are no people, or all photos of a person are left out.
pub fn enrol(
    folder: &Path,
    recognizer: &Recognizer,
) -> Result<(Gallery, Vec<Skipped>), EnrolError> {
    let mut gallery = Gallery::new(recognizer.description().embedding_size);
    let mut skipped = Vec::new();
    let people: Vec<PathBuf> = entries(folder)?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect();
    if people.is_empty() {
        return Err(EnrolError::NoPeople(folder.to_owned()));
    }
    for person in people {
        let name = person
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let photos: Vec<PathBuf> = entries(&person)?
            .into_iter()
            .filter(|path| path.is_file())
            .collect();
        let before = gallery.len();
        for path in &photos {
            let encoded = std::fs::read(path).map_err(|source| EnrolError::Read {
                path: path.clone(),
                source,
            })?;
            match recognizer.embed_photo(&encoded) {
                Ok(embedded) => gallery.push(&name, &embedded.embedding),
                Err(error) => {
                    tracing::warn!(photo = %path.display(), %error, "photo left out of the gallery");
                    skipped.push(Skipped {
                        path: path.clone(),
                        reason: error.to_string(),
                    });
                }
            }
        }
        if gallery.len() == before {
            return Err(EnrolError::NoFace {
                name,
                photos: photos.len(),
            });
        }
    }
    Ok((gallery, skipped))
}

/// Returns all files below a folder, folder by folder.
pub fn photos_below(folder: &Path) -> Result<Vec<PathBuf>, EnrolError> {
    let mut photos = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            photos.extend(photos_below(&path)?);
        } else {
            photos.push(path);
        }
    }
    Ok(photos)
}

/// Returns the entries of a folder, sorted, without hidden files.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, EnrolError> {
    let read = |source| EnrolError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
