//! Files that are reloaded while a service runs: keys, certificates.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time between two checks for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A value read from files; [`get`](Self::get) reads it again after one of them has changed.
pub struct Reloading<T> {
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> anyhow::Result<T> + Send + Sync>,
    check_interval: Duration,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// Those that the value was read from.
    versions: Vec<Option<FileVersion>>,
    /// Those of the last attempt, if it failed.
    unreadable: Option<Vec<Option<FileVersion>>>,
    checked_at: Instant,
}

/// Identifies a version of a file, whether it was written in place or replaced by a rename.
#[derive(PartialEq, Eq)]
struct FileVersion {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl<T> Reloading<T> {
    /// Reads the value. `read` reads `files`.
    ///
    /// # Errors
    /// When `read` fails. A later failure is logged and the last value is kept.
    pub fn open(
        files: Vec<PathBuf>,
        read: impl Fn() -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        // Taken first, so that a change during the read is noticed.
        let versions = versions(&files);
        let state = State {
            value: Arc::new(read()?),
            versions,
            unreadable: None,
            checked_at: Instant::now(),
        };
        Ok(Self {
            files,
            read: Box::new(read),
            check_interval: CHECK_INTERVAL,
            state: Mutex::new(state),
        })
    }

    /// Checks the files at every `get`.
    #[cfg(test)]
    pub fn eager(mut self) -> Self {
        self.check_interval = Duration::ZERO;
        self
    }

    /// Returns the newest value, or the last one while the files cannot be read.
    pub fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.checked_at.elapsed() >= self.check_interval {
            state.checked_at = Instant::now();
            let versions = versions(&self.files);
            if versions != state.versions {
                match (self.read)() {
                    Ok(value) => {
                        tracing::info!(files = ?self.files, "reloaded");
                        state.value = Arc::new(value);
                        state.versions = versions;
                        state.unreadable = None;
                    }
                    // The next check tries again: what stood in the way may not show in the files, such as their owner.
                    Err(error) if state.unreadable.as_ref() != Some(&versions) => {
                        let error = format!("{error:#}");
                        tracing::error!(files = ?self.files, error, "cannot reload; the last version stays in use");
                        state.unreadable = Some(versions);
                    }
                    Err(_) => {}
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

fn versions(files: &[PathBuf]) -> Vec<Option<FileVersion>> {
    let version = |metadata: Metadata| FileVersion {
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    };
    files
        .iter()
        .map(|file| std::fs::metadata(file).ok().map(version))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_value_is_reloaded_and_kept_while_its_file_cannot_be_read() {
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

    #[test]
    fn a_file_that_becomes_readable_is_read_again() {
        let file = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        fs::write(&file, "1").unwrap();
        let path = file.clone();
        let is_allowed = Arc::new(AtomicBool::new(true));
        let allowed = Arc::clone(&is_allowed);
        let read = move || {
            anyhow::ensure!(allowed.load(Ordering::Relaxed), "permission denied");
            Ok(fs::read_to_string(&path)?.parse::<u32>()?)
        };
        let number = Reloading::open(vec![file.clone()], read).unwrap().eager();
        fs::write(&file, "22").unwrap();
        is_allowed.store(false, Ordering::Relaxed);
        assert_eq!(*number.get(), 1);
        assert_eq!(*number.get(), 1);
        // The file is the same as before.
        is_allowed.store(true, Ordering::Relaxed);
        assert_eq!(*number.get(), 22);
        fs::remove_file(&file).unwrap();
    }
}
