//! How an object lies on the disk: the body, then its metadata as JSON, the JSON's length (four bytes, little-endian)
//! and eight bytes that say what this is. The metadata comes last since it holds the body's digests.
//!
//! A file is written under a temporary name and renamed when it is whole, so that a process may be killed at any
//! moment. It is not forced to the disk: what a power failure leaves is up to the file system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: &[u8; 8] = b"lcs3obj1";
const TAIL_BYTES: u64 = MAGIC.len() as u64 + 4;

/// A file that vanishes unless it is moved to its place.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    file: File,
    moved: bool,
}

impl Temporary {
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

    /// Moves the file to its place, over what was there. Its folder is made if need be.
    pub fn move_to(mut self, place: &Path) -> io::Result<()> {
        let moved = match fs::rename(&self.path, place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = place.parent() {
                    fs::create_dir_all(folder)?;
                }
                fs::rename(&self.path, place)
            }
            result => result,
        };
        self.moved = moved.is_ok();
        moved
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.moved {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What follows the body.
pub fn footer(metadata: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut footer = serde_json::to_vec(metadata)?;
    let length = u32::try_from(footer.len()).map_err(io::Error::other)?;
    footer.extend_from_slice(&length.to_le_bytes());
    footer.extend_from_slice(MAGIC);
    Ok(footer)
}

/// The metadata of a file and the length of the body before it; `None` if it is no whole file of ours.
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
