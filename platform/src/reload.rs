//! Files that are reloaded while a service runs: keys, certificates.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Files are checked for changes at most this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A value read from files; [`get`](Self::get) reads it again after one of them has changed.
pub struct Reloading<T> {
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> anyhow::Result<T> + Send + Sync>,
    look_again: Duration,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    stamps: Vec<Option<Stamp>>,
    looked_at: Instant,
}

/// Identifies a version of a file, whether it was written in place or replaced by a rename.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl<T> Reloading<T> {
    /// Reads the value by `read`, which reads `files`.
    ///
    /// # Errors
    /// When `read` fails. A later failure is logged and the last value is kept.
    pub fn open(
        files: Vec<PathBuf>,
        read: impl Fn() -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        // Taken first, so that a change during the read is noticed.
        let stamps = stamps(&files);
        let state = State {
            value: Arc::new(read()?),
            stamps,
            looked_at: Instant::now(),
        };
        Ok(Self {
            files,
            read: Box::new(read),
            look_again: LOOK_AGAIN,
            state: Mutex::new(state),
        })
    }

    /// Checks the files at every `get`.
    #[cfg(test)]
    pub fn eager(mut self) -> Self {
        self.look_again = Duration::ZERO;
        self
    }

    pub fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked_at.elapsed() >= self.look_again {
            state.looked_at = Instant::now();
            let stamps = stamps(&self.files);
            if stamps != state.stamps {
                state.stamps = stamps;
                match (self.read)() {
                    Ok(value) => {
                        tracing::info!(files = ?self.files, "reloaded");
                        state.value = Arc::new(value);
                    }
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::error!(files = ?self.files, error, "cannot be reloaded; the last version stays in use");
                    }
                }
            }
        }
        Arc::clone(&state.value)
    }
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reloading").field(&self.files).finish()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |metadata: Metadata| Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    };
    files
        .iter()
        .map(|file| std::fs::metadata(file).ok().map(stamp))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_file_says_changes_with_it_and_stays_while_it_cannot_be_read() {
        let file = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        fs::write(&file, "1").unwrap();
        let path = file.clone();
        let read = move || Ok(fs::read_to_string(&path)?.parse::<u32>()?);
        let number = Reloading::open(vec![file.clone()], read).unwrap().eager();
        assert_eq!(*number.get(), 1);
        fs::write(&file, "22").unwrap();
        assert_eq!(*number.get(), 22);
        fs::write(&file, "three").unwrap();
        assert_eq!(*number.get(), 22);
        fs::remove_file(&file).unwrap();
        assert_eq!(*number.get(), 22);
        fs::write(&file, "4").unwrap();
        assert_eq!(*number.get(), 4);
        fs::remove_file(&file).unwrap();
    }
}
