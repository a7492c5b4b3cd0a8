//! The file format of objects and parts: the body, its metadata as JSON, the JSON's length (four bytes, little-endian)
//! and eight magic bytes. The metadata follows the body because it holds the body's digests.
//!
//! A complete file is renamed into place, so it survives a kill of the process at any time. It is not synced: what
//! survives a power failure is up to the file system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

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
        let moved = match fs::rename(&self.path, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                fs::rename(&self.path, path)
            }
            result => result,
        };
        self.moved = moved.is_ok();
        moved
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
