//! Buckets and objects on disk: one file per object, and an ordered index in memory that is rebuilt at the start.
//!
//! | path below the folder | content |
//! |---|---|
//! | `buckets/NAME/bucket.json` | the bucket's settings |
//! | `buckets/NAME/objects/HH/HASH` | an object; `HASH` is the SHA-256 of its key, `HH` its first two digits |
//! | `buckets/NAME/uploads/ID` | an unfinished multipart upload |
//! | `temporary` | files that are being written, removed at the start |

mod file;
pub mod listing;
mod object;
mod opening;
#[cfg(test)]
mod tests;
mod uploads;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3s::{S3ErrorCode, S3Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::failure::{failure, internal};
use super::notifications::Notification;
use crate::clock::{Clock, Millis};

pub use file::{SealedFile, TemporaryFile, footer};
pub use object::{Description, Object, ObjectPart, Part, Upload};

/// Tag keys and values.
pub type Tags = BTreeMap<String, String>;

/// The key and the identifier of an upload.
type UploadName = (String, String);

/// All buckets.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    clock: Clock,
    buckets: Mutex<BTreeMap<String, Bucket>>,
    next_number: AtomicU64,
}

/// A bucket's settings, as `bucket.json` has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSettings {
    pub created: Millis,
    pub region: String,
    #[serde(default)]
    pub tags: Tags,
    #[serde(default)]
    pub notifications: Vec<Notification>,
}

/// A bucket in memory.
#[derive(Debug)]
pub struct Bucket {
    pub settings: BucketSettings,
    pub objects: BTreeMap<String, Arc<Object>>,
    pub uploads: BTreeMap<UploadName, UploadState>,
}

/// A multipart upload and the parts that have arrived.
#[derive(Debug, Clone)]
pub struct UploadState {
    pub upload: Arc<Upload>,
    pub parts: BTreeMap<u16, Arc<Part>>,
}

impl Store {
    /// Returns the time, in milliseconds since the Unix epoch.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Returns a greater number than all before, also across restarts.
    pub fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Creates a file in `temporary`.
    pub fn temporary(&self) -> io::Result<TemporaryFile> {
        TemporaryFile::create(self.temporary_path())
    }

    /// Calls `use_bucket` with a bucket while the store is locked.
    ///
    /// # Errors
    /// `NoSuchBucket`, and those of `use_bucket`.
    pub fn with_bucket<R>(
        &self,
        name: &str,
        use_bucket: impl FnOnce(&mut Bucket) -> S3Result<R>,
    ) -> S3Result<R> {
        match self.lock().get_mut(name) {
            Some(bucket) => use_bucket(bucket),
            None => Err(failure(S3ErrorCode::NoSuchBucket)),
        }
    }

    /// Returns the names and settings of all buckets.
    pub fn buckets(&self) -> Vec<(String, BucketSettings)> {
        self.lock()
            .iter()
            .map(|(name, bucket)| (name.clone(), bucket.settings.clone()))
            .collect()
    }

    /// Creates a bucket.
    ///
    /// # Errors
    /// `BucketAlreadyOwnedByYou` if the bucket exists.
    pub fn create_bucket(&self, name: &str, settings: BucketSettings) -> S3Result<()> {
        let mut buckets = self.lock();
        if buckets.contains_key(name) {
            return Err(failure(S3ErrorCode::BucketAlreadyOwnedByYou));
        }
        fs::create_dir_all(self.bucket_folder(name)).map_err(internal)?;
        self.write_settings(name, &settings).map_err(internal)?;
        let bucket = Bucket {
            settings,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
        };
        buckets.insert(name.to_owned(), bucket);
        Ok(())
    }

    /// Deletes an empty bucket and its unfinished uploads.
    ///
    /// # Errors
    /// `NoSuchBucket`, `BucketNotEmpty`.
    pub fn delete_bucket(&self, name: &str) -> S3Result<()> {
        let mut buckets = self.lock();
        let bucket = buckets
            .get(name)
            .ok_or_else(|| failure(S3ErrorCode::NoSuchBucket))?;
        if !bucket.objects.is_empty() {
            return Err(failure(S3ErrorCode::BucketNotEmpty));
        }
        self.discard_folder(&self.bucket_folder(name))
            .map_err(internal)?;
        buckets.remove(name);
        Ok(())
    }

    /// Changes the settings of a bucket.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub fn change_settings(
        &self,
        name: &str,
        change: impl FnOnce(&mut BucketSettings),
    ) -> S3Result<()> {
        self.with_bucket(name, |bucket| {
            let mut settings = bucket.settings.clone();
            change(&mut settings);
            self.write_settings(name, &settings).map_err(internal)?;
            bucket.settings = settings;
            Ok(())
        })
    }

    /// Returns an object's metadata.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`.
    pub fn object(&self, bucket: &str, key: &str) -> S3Result<Arc<Object>> {
        self.with_bucket(bucket, |bucket| find(bucket, key))
    }

    /// Returns an object and its open file, which begins with the body. The file stays readable after the object is
    /// overwritten or deleted.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`.
    pub fn open(&self, bucket: &str, key: &str) -> S3Result<(Arc<Object>, File)> {
        let path = self.object_file(bucket, key);
        self.with_bucket(bucket, |bucket| {
            let object = find(bucket, key)?;
            Ok((object, File::open(path).map_err(internal)?))
        })
    }

    /// Stores an object if `check` accepts the one that it overwrites. Returns a number that grows with every change of
    /// the store.
    ///
    /// # Errors
    /// `NoSuchBucket`, and those of `check`.
    pub fn put(
        &self,
        bucket: &str,
        object: Object,
        file: SealedFile,
        check: impl FnOnce(Option<&Object>) -> S3Result<()>,
    ) -> S3Result<u64> {
        let path = self.object_file(bucket, &object.key);
        self.with_bucket(bucket, |bucket| {
            bucket.put(self, object, file, &path, check)?;
            Ok(self.number())
        })
    }

    /// Deletes an object if `check` accepts it. Returns a number as `put` does, or `None` without an object.
    ///
    /// # Errors
    /// `NoSuchBucket`, and those of `check`.
    pub fn delete(
        &self,
        bucket: &str,
        key: &str,
        check: impl FnOnce(Option<&Object>) -> S3Result<()>,
    ) -> S3Result<Option<u64>> {
        let path = self.object_file(bucket, key);
        self.with_bucket(bucket, |bucket| {
            check(bucket.objects.get(key).map(Arc::as_ref))?;
            if !bucket.objects.contains_key(key) {
                return Ok(None);
            }
            fs::remove_file(path).map_err(internal)?;
            bucket.objects.remove(key);
            Ok(Some(self.number()))
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        // A panic under the lock is a bug; the service stays up.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an unused path in `temporary`.
    fn temporary_path(&self) -> PathBuf {
        let name = format!("{:016x}", self.number());
        self.folder.join("temporary").join(name)
    }

    fn bucket_folder(&self, bucket: &str) -> PathBuf {
        self.folder.join("buckets").join(bucket)
    }

    fn object_file(&self, bucket: &str, key: &str) -> PathBuf {
        let hash = hex::encode(Sha256::digest(key));
        let mut path = self.bucket_folder(bucket);
        path.push("objects");
        path.push(&hash[..2]);
        path.push(hash);
        path
    }

    fn write_settings(&self, bucket: &str, settings: &BucketSettings) -> io::Result<()> {
        self.write_json(&self.bucket_folder(bucket).join("bucket.json"), settings)
    }

    fn write_json(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        let mut file = self.temporary()?;
        file.write(&serde_json::to_vec(value)?)?;
        file.move_to(path)
    }

    /// Removes a folder in one step: renames it into `temporary`, then deletes it.
    fn discard_folder(&self, folder: &Path) -> io::Result<()> {
        let discarded = self.temporary_path();
        fs::rename(folder, &discarded)?;
        // What a failure leaves behind is deleted at the next start.
        if let Err(error) = fs::remove_dir_all(&discarded) {
            warn!(%error, folder = %discarded.display(), "could not delete an unused folder");
        }
        Ok(())
    }
}

impl Bucket {
    fn put(
        &mut self,
        store: &Store,
        object: Object,
        file: SealedFile,
        path: &Path,
        check: impl FnOnce(Option<&Object>) -> S3Result<()>,
    ) -> S3Result<()> {
        let replaced = self.objects.get(&object.key).map(Arc::as_ref);
        check(replaced)?;
        let placed = match replaced {
            Some(_) => file.replace(path, store),
            None => file.create(path),
        };
        placed.map_err(internal)?;
        self.objects.insert(object.key.clone(), Arc::new(object));
        Ok(())
    }
}

fn find(bucket: &Bucket, key: &str) -> S3Result<Arc<Object>> {
    match bucket.objects.get(key) {
        Some(object) => Ok(Arc::clone(object)),
        None => Err(failure(S3ErrorCode::NoSuchKey)),
    }
}
