//! Files of objects and parts while their bytes arrive or are copied.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use serde::Serialize;

use super::store::{SealedFile, Store, TemporaryFile, footer};

/// Up to this size a file is read or written by the calling task: it takes less time than a change of threads.
/// Larger files go through other threads, in chunks of this size.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// A file that is being written.
#[derive(Debug, Default)]
pub struct StagedFile {
    buffer: Vec<u8>,
    file: Option<TemporaryFile>,
}

impl StagedFile {
    /// Appends bytes. A full buffer is written by another thread.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn push(&mut self, store: &Store, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() <= CHUNK_BYTES {
            return Ok(());
        }
        let mut file = self.take_file(store)?;
        let buffer = std::mem::take(&mut self.buffer);
        let (file, mut buffer) = run_blocking(move || {
            file.write(&buffer)?;
            Ok((file, buffer))
        })
        .await?;
        buffer.clear();
        self.buffer = buffer;
        self.file = Some(file);
        Ok(())
    }

    /// Appends bytes. A full buffer is written by this thread.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn push_blocking(&mut self, store: &Store, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > CHUNK_BYTES {
            let mut file = self.take_file(store)?;
            file.write(&self.buffer)?;
            self.buffer.clear();
            self.file = Some(file);
        }
        Ok(())
    }

    /// Appends the bytes of another file.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn push_file(
        &mut self,
        store: &Store,
        source: &File,
        bytes: Range<u64>,
        mut inspect: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut at = bytes.start;
        let mut buffer = vec![0; (bytes.end - at).min(CHUNK_BYTES as u64) as usize];
        while at < bytes.end {
            let length = (bytes.end - at).min(buffer.len() as u64);
            let chunk = &mut buffer[..length as usize];
            source.read_exact_at(chunk, at)?;
            inspect(chunk);
            self.push_blocking(store, chunk)?;
            at += length;
        }
        Ok(())
    }

    /// Appends the metadata. Writes the rest of a file that is not small.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn seal(mut self, metadata: &impl Serialize) -> io::Result<SealedFile> {
        self.buffer.extend_from_slice(&footer(metadata)?);
        let Some(mut file) = self.file else {
            return Ok(SealedFile::Small(self.buffer));
        };
        file.write(&self.buffer)?;
        Ok(SealedFile::Temporary(file))
    }

    fn take_file(&mut self, store: &Store) -> io::Result<TemporaryFile> {
        self.file.take().map_or_else(|| store.temporary(), Ok)
    }
}

/// Runs work that may wait for the disk on another thread.
///
/// # Errors
/// Those of `work`.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
