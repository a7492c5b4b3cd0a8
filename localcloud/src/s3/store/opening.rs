//! Opening a store: builds the index from the files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;
use tracing::warn;

use super::file::read_footer;
use super::{Bucket, Object, Part, Store, Upload, UploadName, UploadState};
use crate::clock::Clock;

impl Store {
    /// Opens the store in a folder, which may be empty or missing.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn open_folder(folder: &Path, clock: Clock) -> io::Result<Self> {
        let temporary = folder.join("temporary");
        if temporary.exists() {
            fs::remove_dir_all(&temporary)?;
        }
        fs::create_dir_all(&temporary)?;
        fs::create_dir_all(folder.join("buckets"))?;
        let mut buckets = BTreeMap::new();
        for bucket_folder in entries(&folder.join("buckets"))? {
            let Some(name) = bucket_folder.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            match read_json(&bucket_folder.join("bucket.json"))? {
                Some(settings) => {
                    let bucket = Bucket {
                        settings,
                        objects: objects_in(&bucket_folder.join("objects"))?,
                        uploads: uploads_in(&bucket_folder.join("uploads"))?,
                    };
                    buckets.insert(name.to_owned(), bucket);
                }
                // The process was killed between creating the folder and writing its settings.
                None => {
                    warn!(folder = %bucket_folder.display(), "skipped a folder that is not a bucket")
                }
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            clock,
            buckets: Mutex::new(buckets),
            next_number: AtomicU64::new(clock.now() * 1000),
        })
    }
}

fn objects_in(folder: &Path) -> io::Result<BTreeMap<String, Arc<Object>>> {
    let mut objects = BTreeMap::new();
    for subfolder in entries(folder)? {
        for path in entries(&subfolder)? {
            match read_footer::<Object>(&path)? {
                Some((object, length)) if object.size == length => {
                    objects.insert(object.key.clone(), Arc::new(object));
                }
                _ => warn!(file = %path.display(), "skipped a file that is not an object"),
            }
        }
    }
    Ok(objects)
}

fn uploads_in(folder: &Path) -> io::Result<BTreeMap<UploadName, UploadState>> {
    let mut uploads = BTreeMap::new();
    for upload_folder in entries(folder)? {
        let Some(upload) = read_json::<Upload>(&upload_folder.join("upload.json"))? else {
            warn!(folder = %upload_folder.display(), "skipped a folder that is not an upload");
            continue;
        };
        let mut parts = BTreeMap::new();
        for path in entries(&upload_folder)? {
            if path.extension().is_some() {
                continue;
            }
            match read_footer::<Part>(&path)? {
                Some((part, length)) if part.size == length => {
                    parts.insert(part.number, Arc::new(part));
                }
                _ => warn!(file = %path.display(), "skipped a file that is not a part"),
            }
        }
        let name = (upload.key.clone(), upload.id.clone());
        let upload = Arc::new(upload);
        uploads.insert(name, UploadState { upload, parts });
    }
    Ok(uploads)
}

/// Returns the paths in a folder; none if it does not exist.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
