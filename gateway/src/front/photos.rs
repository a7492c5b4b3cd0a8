use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use platform::objects::{Metadata, ObjectError, Objects, Put};
use proto::{FileName, JobId};
use tokio::sync::RwLock;

use super::inspect::Photo;
use super::pending::{KeyReferences, Released};
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// User metadata of every object in the in-bucket: the photo's SHA-256 in hexadecimal.
pub const SHA256_METADATA: &str = "sha256";

/// User metadata that tells one put from another of the same photo.
const PUT_METADATA: &str = "put";

/// How often a key is tried that is neither free nor readable, as while another put of it is under way.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// How many hexadecimal digits of the SHA-256 tell photos of one name apart.
const TAG_DIGITS: usize = 16;
const SHARDS: usize = 64;

/// The in-bucket, and which of its photos are in use by requests.
#[derive(Debug)]
pub struct Photos {
    objects: Objects,
    keys: Mutex<KeyReferences>,
    /// Storing a key excludes deleting it: otherwise a request could come to rely on a photo that is being deleted.
    /// Puts of one key do not exclude each other. Keys share locks by hash.
    locks: [RwLock<()>; SHARDS],
}

/// A photo in the in-bucket, in use by one request. Dropped, it stays.
#[derive(Debug)]
pub struct StoredPhoto {
    photos: Arc<Photos>,
    key: String,
    released: bool,
}

impl Photos {
    #[must_use]
    pub fn new(objects: Objects) -> Arc<Self> {
        let locks = std::array::from_fn(|_| RwLock::new(()));
        Arc::new(Self {
            objects,
            keys: Mutex::default(),
            locks,
        })
    }

    /// Stores the photo under its file name, or under a name derived from it when that belongs to another photo.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] when the object store cannot be reached.
    pub async fn store(
        self: &Arc<Self>,
        file_name: &FileName,
        photo: &Photo,
    ) -> Result<StoredPhoto, RequestError> {
        if let Some(stored) = self.store_as(file_name.as_str(), photo).await? {
            return Ok(stored);
        }
        let derived = file_name.derived(&photo.sha256[..TAG_DIGITS]);
        let stored = self.store_as(derived.as_str(), photo).await?;
        stored.ok_or_else(|| {
            tracing::error!(key = derived.as_str(), "a derived key holds another photo");
            RequestError::new(ErrorCode::Internal, "the file name is taken")
        })
    }

    /// `None` when the key belongs to another photo.
    async fn store_as(
        self: &Arc<Self>,
        key: &str,
        photo: &Photo,
    ) -> Result<Option<StoredPhoto>, RequestError> {
        for attempt in 0..ATTEMPTS {
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
                    // An attempt whose answer was lost: the SDK's next one found the key taken.
                    if found.get(PUT_METADATA) == Some(&put_id) {
                        self.keys().stored(key);
                    }
                    return Ok(Some(reference));
                }
                found => {
                    drop(sharing);
                    // This request never relied on the photo; if its last user found it to be bad meanwhile, it goes.
                    reference.discard().await;
                    match found {
                        Ok(_) => return Ok(None),
                        Err(ObjectError::NotFound(_)) => {}
                        Err(error) => return Err(refused(&error)),
                    }
                }
            }
            tokio::time::sleep(FIRST_PAUSE * 2u32.pow(attempt)).await;
        }
        let message = "the object store is busy with a photo of this name";
        Err(RequestError::new(ErrorCode::Unavailable, message))
    }

    fn refer(self: &Arc<Self>, key: &str) -> StoredPhoto {
        self.keys().take(key);
        StoredPhoto {
            photos: Arc::clone(self),
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

impl StoredPhoto {
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Lets go of a photo that is bad: it is deleted if it was stored for requests that are all done, and none of
    /// them wanted it.
    pub async fn discard(mut self) {
        let _exclusive = self.photos.lock_of(&self.key).write().await;
        self.released = true;
        if self.photos.keys().release(&self.key, false) == Released::Keep {
            return;
        }
        match self.photos.objects.delete(&self.key).await {
            Ok(()) => metric::PHOTOS_DELETED.counter().increment(1),
            Err(error) => {
                tracing::warn!(key = self.key, %error, "a bad photo stays in the in-bucket")
            }
        }
    }
}

impl Drop for StoredPhoto {
    fn drop(&mut self) {
        if !self.released {
            self.photos.keys().release(&self.key, true);
        }
    }
}

fn refused(error: &ObjectError) -> RequestError {
    if let ObjectError::KeyTooLong(bytes) = error {
        let message = format!("the object store takes no file name of {bytes} bytes");
        return RequestError::new(ErrorCode::BadFileName, message);
    }
    tracing::warn!(%error, "a photo could not be stored");
    RequestError::new(ErrorCode::Unavailable, "the object store cannot be reached")
}
