//! S3: two buckets with conditional puts, and what may not happen to results.

use std::collections::BTreeMap;

use proto::JobId;
use proto::v1::RecognitionResult;

use crate::event::{CloudResult, PutResult, Stored, Time, Unavailable};
use crate::system::Simulation;

#[derive(Debug, Default)]
pub struct Objects {
    pub photos: BTreeMap<String, StoredPhoto>,
    pub results: BTreeMap<String, StoredResult>,
    /// The results of late replies, which `GET /v1/results/<request id>` serves.
    pub kept: BTreeMap<JobId, RecognitionResult>,
    /// Until when calls fail.
    pub down_until: Time,
}

#[derive(Debug, Clone)]
pub struct StoredPhoto {
    pub photo: usize,
    pub put: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResult {
    pub photo_sha256: String,
    pub body: String,
}

impl Simulation {
    /// A call that fails may have stored the photo.
    pub fn put_photo(&mut self, key: &str, photo: usize, put: u64) -> CloudResult<PutResult> {
        let fails = self.s3_fails();
        let takes_effect = !fails || self.loses_response();
        let mut result = PutResult::Exists;
        if takes_effect && !self.s3.photos.contains_key(key) {
            let stored = StoredPhoto { photo, put };
            self.s3.photos.insert(key.to_owned(), stored);
            result = PutResult::Stored;
            // The SDK repeats a call whose response was lost, and finds the key in use.
            if !fails && self.loses_response() {
                result = PutResult::Exists;
            }
        }
        if fails { Err(Unavailable) } else { Ok(result) }
    }

    pub fn look_at_photo(&mut self, key: &str) -> CloudResult<Option<Stored>> {
        if self.s3_fails() {
            return Err(Unavailable);
        }
        let found = self.s3.photos.get(key);
        Ok(found.map(|found| Stored {
            photo_sha256: self.photos[found.photo].sha256.clone(),
            put: found.put,
        }))
    }

    pub fn get_photo(&mut self, key: &str) -> CloudResult<Option<usize>> {
        if self.s3_fails() {
            return Err(Unavailable);
        }
        Ok(self.s3.photos.get(key).map(|stored| stored.photo))
    }

    pub fn delete_photo(&mut self, key: &str) {
        if !self.s3_fails() {
            self.s3.photos.remove(key);
        }
    }

    /// Puts a result. Another photo's result may not be replaced.
    pub fn put_result(
        &mut self,
        key: &str,
        result: StoredResult,
        if_absent: bool,
    ) -> CloudResult<PutResult> {
        let fails = self.s3_fails();
        let takes_effect = !fails || self.loses_response();
        let present = self.s3.results.get(key);
        if if_absent && present.is_some() {
            return if fails {
                Err(Unavailable)
            } else {
                Ok(PutResult::Exists)
            };
        }
        if takes_effect {
            if present.is_some_and(|present| present.photo_sha256 != result.photo_sha256) {
                let present = present.cloned();
                self.violated(format!(
                    "the result {present:?} of {key} was replaced by {result:?}"
                ));
            }
            self.s3.results.insert(key.to_owned(), result);
        }
        if fails {
            Err(Unavailable)
        } else {
            Ok(PutResult::Stored)
        }
    }

    pub fn look_at_result(&mut self, key: &str) -> CloudResult<Option<Stored>> {
        if self.s3_fails() {
            return Err(Unavailable);
        }
        let found = self.s3.results.get(key);
        Ok(found.map(|found| Stored {
            photo_sha256: found.photo_sha256.clone(),
            put: 0,
        }))
    }

    pub fn keep_result(&mut self, id: JobId, result: RecognitionResult) -> CloudResult<()> {
        let fails = self.s3_fails();
        if !fails || self.loses_response() {
            self.s3.kept.entry(id).or_insert(result);
        }
        if fails { Err(Unavailable) } else { Ok(()) }
    }

    fn s3_fails(&mut self) -> bool {
        self.now < self.s3.down_until && self.random.chance(0.9)
    }
}
