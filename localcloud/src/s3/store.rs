//! Where buckets and objects are: one file an object, and an ordered index of them in memory that is made anew from
//! the files at the start.
//!
//! A bucket is a folder `buckets/NAME` with its settings in `bucket.json`, its objects in `objects/HH/HASH` (the
//! SHA-256 of the key, so that any key has a file name, under the hash's first two letters) and its unfinished
//! uploads in `uploads/ID`. New files begin in `temporary`, which is emptied at the start.

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
use super::notifications::QueueNotification;
use crate::clock::{Clock, Millis};

pub use file::{Temporary, footer};
pub use object::{Description, Object, ObjectPart, Part, Upload};

/// Names and values.
pub type Tags = BTreeMap<String, String>;

/// All buckets.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    clock: Clock,
    buckets: Mutex<BTreeMap<String, Bucket>>,
    next_number: AtomicU64,
}

/// What is known about a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub created: Millis,
    pub region: String,
    #[serde(default)]
    pub tags: Tags,
    #[serde(default)]
    pub notifications: Vec<QueueNotification>,
}

/// A bucket and what is in it.
#[derive(Debug)]
pub struct Bucket {
    pub settings: Settings,
    pub objects: BTreeMap<String, Arc<Object>>,
    /// By key and upload identifier.
    pub uploads: BTreeMap<(String, String), UploadInParts>,
}

/// An upload and the parts that have arrived.
#[derive(Debug, Clone)]
pub struct UploadInParts {
    pub upload: Arc<Upload>,
    pub parts: BTreeMap<u16, Arc<Part>>,
}

impl Store {
    /// The time, in milliseconds since the Unix epoch.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Numbers that grow, also over restarts.
    pub fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// A new file, not in its place yet.
    pub fn temporary(&self) -> io::Result<Temporary> {
        let name = format!("{:016x}", self.number());
        Temporary::create(self.folder.join("temporary").join(name))
    }

    /// Looks at a bucket, or changes it in memory.
    ///
    /// # Errors
    /// `NoSuchBucket`, and what `look` refuses.
    pub fn with_bucket<R>(
        &self,
        name: &str,
        look: impl FnOnce(&mut Bucket) -> S3Result<R>,
    ) -> S3Result<R> {
        match self.lock().get_mut(name) {
            Some(bucket) => look(bucket),
            None => Err(failure(S3ErrorCode::NoSuchBucket)),
        }
    }

    /// Names and settings of all buckets.
    pub fn buckets(&self) -> Vec<(String, Settings)> {
        self.lock()
            .iter()
            .map(|(name, bucket)| (name.clone(), bucket.settings.clone()))
            .collect()
    }

    /// Creates a bucket, unless there is one of that name.
    ///
    /// # Errors
    /// `BucketAlreadyOwnedByYou`.
    pub fn create_bucket(&self, name: &str, settings: Settings) -> S3Result<()> {
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

    /// Deletes an empty bucket, with its unfinished uploads.
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

    /// Changes what is known about a bucket.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub fn change_settings(&self, name: &str, change: impl FnOnce(&mut Settings)) -> S3Result<()> {
        self.with_bucket(name, |bucket| {
            let mut settings = bucket.settings.clone();
            change(&mut settings);
            self.write_settings(name, &settings).map_err(internal)?;
            bucket.settings = settings;
            Ok(())
        })
    }

    /// What is known about an object.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`.
    pub fn object(&self, bucket: &str, key: &str) -> S3Result<Arc<Object>> {
        self.with_bucket(bucket, |bucket| find(bucket, key))
    }

    /// An object and the file that begins with its body. Whoever has it can read it to its end, whatever becomes of
    /// the object.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`.
    pub fn open(&self, bucket: &str, key: &str) -> S3Result<(Arc<Object>, File)> {
        let place = self.object_file(bucket, key);
        self.with_bucket(bucket, |bucket| {
            let object = find(bucket, key)?;
            Ok((object, File::open(place).map_err(internal)?))
        })
    }

    /// Puts an object into its place if `check` agrees to what is there now. Answers a number that grows from one
    /// change of the store to the next.
    ///
    /// # Errors
    /// `NoSuchBucket`, and what `check` refuses.
    pub fn put(
        &self,
        bucket: &str,
        object: Object,
        file: Temporary,
        check: impl FnOnce(Option<&Object>) -> S3Result<()>,
    ) -> S3Result<u64> {
        let place = self.object_file(bucket, &object.key);
        self.with_bucket(bucket, |bucket| {
            check(bucket.objects.get(&object.key).map(Arc::as_ref))?;
            file.move_to(&place).map_err(internal)?;
            bucket.objects.insert(object.key.clone(), Arc::new(object));
            Ok(self.number())
        })
    }

    /// Deletes an object if `check` agrees to what is there now; answers it, and a number as `put` does.
    ///
    /// # Errors
    /// `NoSuchBucket`, and what `check` refuses.
    pub fn delete(
        &self,
        bucket: &str,
        key: &str,
        check: impl FnOnce(Option<&Object>) -> S3Result<()>,
    ) -> S3Result<Option<(Arc<Object>, u64)>> {
        let place = self.object_file(bucket, key);
        self.with_bucket(bucket, |bucket| {
            let present = bucket.objects.get(key).map(Arc::clone);
            check(present.as_deref())?;
            let Some(object) = present else {
                return Ok(None);
            };
            fs::remove_file(place).map_err(internal)?;
            bucket.objects.remove(key);
            Ok(Some((object, self.number())))
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        // A panic while the lock was held is a bug, yet the other buckets still deserve an answer.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn write_settings(&self, bucket: &str, settings: &Settings) -> io::Result<()> {
        let mut file = self.temporary()?;
        file.write(&serde_json::to_vec(settings)?)?;
        file.move_to(&self.bucket_folder(bucket).join("bucket.json"))
    }

    /// Removes a folder: whole for whoever is killed in the middle of it.
    fn discard_folder(&self, folder: &Path) -> io::Result<()> {
        let discarded = self
            .folder
            .join("temporary")
            .join(format!("{:016x}", self.number()));
        fs::rename(folder, &discarded)?;
        // From now on it is nobody's, and gone at the next start at the latest.
        if let Err(error) = fs::remove_dir_all(&discarded) {
            warn!(%error, folder = %discarded.display(), "a folder that is no longer used stays");
        }
        Ok(())
    }
}

fn find(bucket: &Bucket, key: &str) -> S3Result<Arc<Object>> {
    match bucket.objects.get(key) {
        Some(object) => Ok(Arc::clone(object)),
        None => Err(failure(S3ErrorCode::NoSuchKey)),
    }
}
