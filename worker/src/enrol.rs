//! Makes a gallery from a folder of photos: `DIR/<name>/**`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::vision::{Embedded, Gallery, Recognizer};

/// The split that makes the gallery, and the one that is searched for in it: folders above people's.
pub(crate) const GALLERY_SPLIT: &str = "train";
pub(crate) const QUERY_SPLIT: &str = "val";

/// Folders that Synology's NAS puts beside photos, with small copies of them.
const NAS_FOLDER: &str = "@eaDir";

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
    #[error("{0} holds folders of people: pass {0} as the folder of photos")]
    Split(PathBuf),
    #[error("no photo of {name} shows a face ({photos} tried)")]
    NoFace { name: String, photos: usize },
}

/// A photo that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub path: PathBuf,
    pub reason: String,
}

/// Makes one row for each photo, named by the photo's folder in `folder`; its subfolders belong to the same person. Photos
/// that cannot be decoded or show no face are left out and returned. A photo with several faces is named in the log.
///
/// # Errors
/// When a file cannot be read, there are no people, a folder is a split, or all photos of a person are left out.
pub fn enrol(
    folder: &Path,
    recognizer: &Recognizer,
) -> Result<(Gallery, Vec<Skipped>), EnrolError> {
    let mut gallery = Gallery::new(recognizer.description().embedding_size);
    let mut skipped = Vec::new();
    for person in people_in(folder)? {
        if !people_of_split(&person)?.is_empty() {
            return Err(EnrolError::Split(person));
        }
        let name = last_part(&person);
        let before = skipped.len();
        let photos = embed_person(&person, recognizer, &mut skipped)?;
        for Skipped { path, reason } in &skipped[before..] {
            tracing::warn!(photo = %path.display(), error = %reason, "photo left out of the gallery");
        }
        if photos.is_empty() {
            let photos = skipped.len() - before;
            return Err(EnrolError::NoFace { name, photos });
        }
        for (path, embedded) in &photos {
            warn_of_several(path, embedded);
            gallery.push(&name, &embedded.embedding);
        }
    }
    Ok((gallery, skipped))
}

/// Embeds all photos below a person's folder. Those that cannot be decoded or show no face are added to `skipped`.
pub(crate) fn embed_person(
    person: &Path,
    recognizer: &Recognizer,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<(PathBuf, Embedded)>, EnrolError> {
    let mut photos = Vec::new();
    for path in photos_below(person)? {
        let encoded = std::fs::read(&path).map_err(|source| EnrolError::Read {
            path: path.clone(),
            source,
        })?;
        match recognizer.embed_photo(&encoded) {
            Ok(embedded) => photos.push((path, embedded)),
            Err(error) => skipped.push(Skipped {
                path,
                reason: error.to_string(),
            }),
        }
    }
    Ok(photos)
}

/// Logs a photo with several faces: the largest may be a stranger's, who then has the person's name.
fn warn_of_several(photo: &Path, embedded: &Embedded) {
    let faces = embedded.faces;
    if faces > 1 {
        tracing::warn!(photo = %photo.display(), faces, "several faces on a photo: the largest is enrolled");
    }
}

/// Returns all files below a folder, folder by folder, without hidden ones and those of a NAS.
pub fn photos_below(folder: &Path) -> Result<Vec<PathBuf>, EnrolError> {
    let mut photos = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            photos.extend(photos_below(&path)?);
        } else if path.is_file() {
            photos.push(path);
        } else {
            tracing::warn!(path = %path.display(), "left out: it leads to no file");
        }
    }
    Ok(photos)
}

/// Returns the folders of people, or of splits.
pub(crate) fn people_in(folder: &Path) -> Result<Vec<PathBuf>, EnrolError> {
    let people = folders(folder)?;
    if people.is_empty() {
        return Err(EnrolError::NoPeople(folder.to_owned()));
    }
    Ok(people)
}

/// Returns the folders of people in a split. There are none if the folder is a person's.
pub(crate) fn people_of_split(folder: &Path) -> Result<Vec<PathBuf>, EnrolError> {
    match last_part(folder).as_str() {
        GALLERY_SPLIT | QUERY_SPLIT => folders(folder),
        _ => Ok(Vec::new()),
    }
}

/// Returns the folders of a folder, sorted.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, EnrolError> {
    let mut folders = entries(folder)?;
    folders.retain(|path| path.is_dir());
    Ok(folders)
}

/// Returns a path's last part, by which people and splits are named.
pub(crate) fn last_part(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Returns the entries of a folder, sorted. Hidden ones and a NAS's folders are skipped, each with a line in the log.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, EnrolError> {
    let read = |source| EnrolError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = last_part(&path);
        if name == NAS_FOLDER || name.starts_with('.') {
            tracing::info!(path = %path.display(), "skipped: it holds no photos of people");
        } else {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
