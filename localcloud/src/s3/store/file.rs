//! The file format of objects and parts: the body, its metadata as JSON, the JSON's length (four bytes, little-endian)
//! and eight magic bytes. The metadata follows the body because it holds the body's digests.
//!
//! A file that replaces another is complete before it is renamed into place. A new one may be written in its place: one that
//! is cut by a kill of the process has no magic bytes at its end, and is skipped at the next start. Files are not synced: what
//! survives a power failure is up to the file system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Store;

const MAGIC: &[u8; 8] = b"lcs3obj1";
const TAIL_BYTES: u64 = MAGIC.len() as u64 + 4;

/// A file that is deleted when dropped, unless it was moved into place.
#[derive(Debug)]
pub struct TemporaryFile {
    path: PathBuf,
    file: File,
    moved: bool,
}

impl TemporaryFile {
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::create_new(&path)?;
        Ok(Self {
            path,
            file,
            moved: false,
        })
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Moves the file into place, over an existing one. Creates the parent folder.
    pub fn move_to(mut self, path: &Path) -> io::Result<()> {
        let moved = in_folder_of(path, || fs::rename(&self.path, path));
        self.moved = moved.is_ok();
        moved
    }
}

/// A complete file that is yet to be put in place.
#[derive(Debug)]
pub enum SealedFile {
    Small(Vec<u8>),
    Temporary(TemporaryFile),
}

impl SealedFile {
    /// Puts the file where there is none. Creates the parent folder.
    pub fn create(self, path: &Path) -> io::Result<()> {
        match self {
            // Half the calls of a temporary file that is renamed.
            Self::Small(bytes) => {
                let written = in_folder_of(path, || File::create(path))
                    .and_then(|mut file| file.write_all(&bytes));
                if written.is_err() {
                    let _ = fs::remove_file(path);
                }
                written
            }
            Self::Temporary(file) => file.move_to(path),
        }
    }

    /// Puts the file over another, whose readers go on reading the old one.
    pub fn replace(self, path: &Path, store: &Store) -> io::Result<()> {
        let file = match self {
            Self::Small(bytes) => {
                let mut file = store.temporary()?;
                file.write(&bytes)?;
                file
            }
            Self::Temporary(file) => file,
        };
        file.move_to(path)
    }
}

/// Calls `make` again after it failed because the folder of `path` was missing, which it creates.
fn in_folder_of<T>(path: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match (make(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            make()
        }
        (made, _) => made,
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.moved {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns the bytes that follow the body.
pub fn footer(metadata: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut footer = serde_json::to_vec(metadata)?;
    let length = u32::try_from(footer.len()).map_err(io::Error::other)?;
    footer.extend_from_slice(&length.to_le_bytes());
    footer.extend_from_slice(MAGIC);
    Ok(footer)
}

/// Reads the metadata of a file and the length of its body; `None` if the file is incomplete or foreign.
pub fn read_footer<T: DeserializeOwned>(path: &Path) -> io::Result<Option<(T, u64)>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let Some(tail_at) = length.checked_sub(TAIL_BYTES) else {
        return Ok(None);
    };
    let mut tail = [0; TAIL_BYTES as usize];
    file.read_exact_at(&mut tail, tail_at)?;
    let (json_length, magic) = tail.split_at(4);
    let json_length = u32::from_le_bytes(json_length.try_into().map_err(io::Error::other)?);
    let Some(body_length) = tail_at.checked_sub(json_length.into()) else {
        return Ok(None);
    };
    if magic != MAGIC {
        return Ok(None);
    }
    let mut json = vec![0; json_length as usize];
    file.read_exact_at(&mut json, body_length)?;
    Ok(serde_json::from_slice(&json)
        .ok()
        .map(|metadata| (metadata, body_length)))
}
