use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
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
const SHARDS: usize = 64;

/// The in-bucket, and the requests that use its photos.
#[derive(Debug)]
pub struct PhotoStore {
    objects: Objects,
    keys: Mutex<KeyReferences>,
    /// A put shares its key's lock and a delete takes it alone: a request must not rely on a photo that is being deleted.
    /// Keys share locks by hash.
    locks: [RwLock<()>; SHARDS],
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
        let locks = std::array::from_fn(|_| RwLock::new(()));
        Arc::new(Self {
            objects,
            keys: Mutex::default(),
            locks,
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
            let sharing = self.lock_of(key).read().await;
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

    fn lock_of(&self, key: &str) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let shard = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0);
        &self.locks[shard]
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
        let _exclusive = self.store.lock_of(&self.key).write().await;
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
