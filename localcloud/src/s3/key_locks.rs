//! One lock for each object that is being worked on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Locks by object path. s3s-fs looks whether an object exists, writes it and only then its metadata: without a lock
/// two conditional puts could both succeed, and a reader could see an object without its metadata.
#[derive(Debug, Default, Clone)]
pub struct KeyLocks {
    locks: Arc<Mutex<HashMap<String, Arc<RwLock<()>>>>>,
}

/// A lock that is held.
#[derive(Debug)]
pub struct KeyGuard {
    locks: KeyLocks,
    path: String,
    guard: Option<Held>,
}

#[derive(Debug)]
enum Held {
    Read { _guard: OwnedRwLockReadGuard<()> },
    Write { _guard: OwnedRwLockWriteGuard<()> },
}

impl KeyLocks {
    /// Waits until nobody writes the object.
    pub async fn read(&self, path: &str) -> KeyGuard {
        let mut guard = self.enlist(path);
        guard.guard = Some(Held::Read {
            _guard: self.lock_of(path).read_owned().await,
        });
        guard
    }

    /// Waits until nobody reads or writes the object.
    pub async fn write(&self, path: &str) -> KeyGuard {
        let mut guard = self.enlist(path);
        guard.guard = Some(Held::Write {
            _guard: self.lock_of(path).write_owned().await,
        });
        guard
    }

    /// The guard exists before the lock is waited for, so that a caller who gives up while waiting tidies up as well.
    fn enlist(&self, path: &str) -> KeyGuard {
        KeyGuard {
            locks: self.clone(),
            path: path.to_owned(),
            guard: None,
        }
    }

    fn lock_of(&self, path: &str) -> Arc<RwLock<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        match locks.get(path) {
            Some(lock) => Arc::clone(lock),
            None => Arc::clone(locks.entry(path.to_owned()).or_default()),
        }
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self
            .locks
            .locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Others who hold the lock or wait for it hold a reference to it.
        if locks
            .get(&self.path)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.path);
        }
    }
}
