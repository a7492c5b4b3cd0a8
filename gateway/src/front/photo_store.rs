use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use platform::backoff::Backoff;
use platform::objects::{Metadata, ObjectError, Objects, Put};
use proto::{FileName, JobId};
use tokio::sync::RwLock;

use super::inspect::InspectedPhoto;
use super::pending::{KeyReferences, Released};
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// User metadata of every object in the in-bucket: the photo's SHA-256 in hexadecimal.
pub const SHA256_METADATA: &str = "sha256";

/// User metadata that identifies one put of a photo.
const PUT_METADATA: &str = "put";

/// Attempts at a key that is neither free nor readable, as while another put of it is under way.
const ATTEMPTS: u32 = 6;
const RETRY: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
/// Hexadecimal digits of the SHA-256 in the key of another photo of the same name.
const TAG_DIGITS: usize = 16;

/// The in-bucket, and the requests that use its photos.
#[derive(Debug)]
pub struct PhotoStore {
    objects: Objects,
    keys: Mutex<KeyReferences>,
    /// A put shares its key's lock and a delete takes it alone: a request must not rely on a photo that is being deleted.
    locks: KeyLocks,
}

/// A lock for each key that is in use.
#[derive(Debug, Default)]
struct KeyLocks(Mutex<HashMap<String, Weak<RwLock<()>>>>);

impl KeyLocks {
    fn of(&self, key: &str) -> Arc<RwLock<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        // Before the table would grow, so that each insert pays for a constant part of it.
        if locks.len() == locks.capacity() {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::default();
        locks.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

/// A photo in the in-bucket that one request uses. Drop keeps the photo.
#[derive(Debug)]
pub struct StoredPhoto {
    store: Arc<PhotoStore>,
    key: String,
    released: bool,
}

impl PhotoStore {
    #[must_use]
    pub fn new(objects: Objects) -> Arc<Self> {
        Arc::new(Self {
            objects,
            keys: Mutex::default(),
            locks: KeyLocks::default(),
        })
    }

    /// Stores the photo under its file name, or under a name derived from it if another photo has that key.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] when the object store cannot be reached.
    pub async fn store(
        self: &Arc<Self>,
        file_name: &FileName,
        photo: &InspectedPhoto,
    ) -> Result<StoredPhoto, RequestError> {
        if let Some(stored) = self.store_as(file_name.as_str(), photo).await? {
            return Ok(stored);
        }
        let derived = derived(file_name, &photo.sha256);
        let stored = self.store_as(derived.as_str(), photo).await?;
        stored.ok_or_else(|| {
            tracing::error!(key = derived.as_str(), "a derived key holds another photo");
            RequestError::new(ErrorCode::Internal, "the file name is taken")
        })
    }

    /// Returns `None` when the key belongs to another photo.
    async fn store_as(
        self: &Arc<Self>,
        key: &str,
        photo: &InspectedPhoto,
    ) -> Result<Option<StoredPhoto>, RequestError> {
        let mut backoff = RETRY;
        for _ in 0..ATTEMPTS {
            let lock = self.locks.of(key);
            let sharing = lock.read().await;
            let reference = self.refer(key);
            let put_id = JobId::random().to_string();
            let metadata = Metadata::from([
                (SHA256_METADATA.to_owned(), photo.sha256.clone()),
                (PUT_METADATA.to_owned(), put_id.clone()),
            ]);
            let put = self
                .objects
                .put_if_absent(key, photo.bytes.clone(), metadata)
                .await;
            if put.map_err(|error| refused(&error))? == Put::Stored {
                self.keys().stored(key);
                return Ok(Some(reference));
            }
            match self.objects.metadata(key).await {
                Ok(found) if found.get(SHA256_METADATA) == Some(&photo.sha256) => {
                    // The reply to the first attempt was lost, and the SDK's second one found the key in use.
                    if found.get(PUT_METADATA) == Some(&put_id) {
                        self.keys().stored(key);
                    }
                    return Ok(Some(reference));
                }
                found => {
                    drop(sharing);
                    // This request did not use the photo. If its last user found it bad meanwhile, it is deleted.
                    reference.discard().await;
                    match found {
                        Ok(_) => return Ok(None),
                        Err(ObjectError::NotFound(_)) => {}
                        Err(error) => return Err(refused(&error)),
                    }
                }
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
        let message = "the object store is busy with a photo of this name";
        Err(RequestError::new(ErrorCode::Unavailable, message))
    }

    fn refer(self: &Arc<Self>, key: &str) -> StoredPhoto {
        self.keys().take(key);
        StoredPhoto {
            store: Arc::clone(self),
            key: key.to_owned(),
            released: false,
        }
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, KeyReferences> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the key of a photo whose file name is the key of another photo.
#[must_use]
pub fn derived(file_name: &FileName, sha256: &str) -> FileName {
    file_name.derived(&sha256[..TAG_DIGITS])
}

impl StoredPhoto {
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Releases a bad photo. It is deleted if it was stored for requests that have all ended, and none of them needs it.
    pub async fn discard(mut self) {
        let lock = self.store.locks.of(&self.key);
        let _exclusive = lock.write().await;
        self.released = true;
        if self.store.keys().release(&self.key, false) == Released::Keep {
            return;
        }
        match self.store.objects.delete(&self.key).await {
            Ok(()) => metric::PHOTOS_DELETED.get().increment(1),
            Err(error) => {
                tracing::warn!(key = self.key, %error, "a bad photo stays in the in-bucket")
            }
        }
    }
}

impl Drop for StoredPhoto {
    fn drop(&mut self) {
        if !self.released {
            self.store.keys().release(&self.key, true);
        }
    }
}

fn refused(error: &ObjectError) -> RequestError {
    if let ObjectError::KeyTooLong(bytes) = error {
        let message = format!("the object store accepts no file name of {bytes} bytes");
        return RequestError::new(ErrorCode::BadFileName, message);
    }
    tracing::warn!(%error, "a photo could not be stored");
    RequestError::new(ErrorCode::Unavailable, "the object store cannot be reached")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names shared 64 locks by their hash: a slow upload held up the answers about others' bad photos.
    #[test]
    fn each_key_has_a_lock_of_its_own_while_it_is_in_use() {
        let locks = KeyLocks::default();
        let names: Vec<String> = (0..1000).map(|number| format!("{number}.jpg")).collect();
        let held: Vec<_> = names.iter().map(|name| locks.of(name)).collect();
        let uploading = held[0].try_read().unwrap();
        assert!(locks.of("0.jpg").try_write().is_err());
        assert!(held[1..].iter().all(|lock| lock.try_write().is_ok()));
        drop(uploading);
        drop(held);
        for number in 0..100_000 {
            drop(locks.of(&number.to_string()));
        }
        let kept = locks.0.lock().unwrap().len();
        assert!(kept < 5_000, "{kept}");
    }
}
