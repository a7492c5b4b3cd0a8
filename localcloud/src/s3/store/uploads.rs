//! Unfinished multipart uploads.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use s3s::{S3ErrorCode, S3Result};
use tracing::warn;

use super::file::SealedFile;
use super::{Bucket, Object, Part, Store, Upload, UploadState};
use crate::s3::failure::{failure, internal};

impl Store {
    /// Creates an upload.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub fn begin_upload(&self, bucket: &str, upload: Upload) -> S3Result<()> {
        let folder = self.upload_folder(bucket, &upload.id);
        self.with_bucket(bucket, |bucket| {
            self.write_json(&folder.join("upload.json"), &upload)
                .map_err(internal)?;
            let name = (upload.key.clone(), upload.id.clone());
            let upload = UploadState {
                upload: Arc::new(upload),
                parts: Default::default(),
            };
            bucket.uploads.insert(name, upload);
            Ok(())
        })
    }

    /// Returns an upload and its parts.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchUpload`.
    pub fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<UploadState> {
        self.with_bucket(bucket, |bucket| bucket.upload(key, id).cloned())
    }

    /// Stores a part, over an older one of the same number.
    ///
    /// # Errors
    /// As `upload`.
    pub fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        part: Part,
        file: SealedFile,
    ) -> S3Result<()> {
        let path = self.part_file(bucket, id, part.number);
        self.with_bucket(bucket, |bucket| {
            let upload = bucket.upload(key, id)?;
            file.replace(&path, self).map_err(internal)?;
            upload.parts.insert(part.number, Arc::new(part));
            Ok(())
        })
    }

    /// Opens the file of a part, which begins with its bytes.
    ///
    /// # Errors
    /// As `upload`, and `InvalidPart` if the part was replaced.
    pub fn open_part(&self, bucket: &str, upload: &Upload, part: &Part) -> S3Result<File> {
        let path = self.part_file(bucket, &upload.id, part.number);
        self.with_bucket(bucket, |bucket| {
            let present = bucket.upload(&upload.key, &upload.id)?;
            match present.parts.get(&part.number) {
                Some(present) if present.as_ref() == part => File::open(path).map_err(internal),
                _ => Err(failure(S3ErrorCode::InvalidPart)),
            }
        })
    }

    /// Stores the object of a completed upload, as `put` does, and removes the upload.
    ///
    /// # Errors
    /// As `upload` and `put`.
    pub fn complete_upload(
        &self,
        bucket_name: &str,
        id: &str,
        object: Object,
        file: SealedFile,
        check: impl FnOnce(Option<&Object>) -> S3Result<()>,
    ) -> S3Result<u64> {
        let path = self.object_file(bucket_name, &object.key);
        let folder = self.upload_folder(bucket_name, id);
        self.with_bucket(bucket_name, |bucket| {
            let name = (object.key.clone(), id.to_owned());
            bucket.upload(&name.0, id)?;
            bucket.put(self, object, file, &path, check)?;
            bucket.uploads.remove(&name);
            if let Err(error) = self.discard_folder(&folder) {
                warn!(%error, "could not delete the parts of a completed upload");
            }
            Ok(self.number())
        })
    }

    /// Removes an upload and its parts.
    ///
    /// # Errors
    /// As `upload`.
    pub fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let folder = self.upload_folder(bucket, id);
        self.with_bucket(bucket, |bucket| {
            bucket.upload(key, id)?;
            bucket.uploads.remove(&(key.to_owned(), id.to_owned()));
            self.discard_folder(&folder).map_err(internal)
        })
    }

    fn upload_folder(&self, bucket: &str, id: &str) -> PathBuf {
        self.bucket_folder(bucket).join("uploads").join(id)
    }

    fn part_file(&self, bucket: &str, id: &str, number: u16) -> PathBuf {
        self.upload_folder(bucket, id).join(format!("{number:05}"))
    }
}

impl Bucket {
    fn upload(&mut self, key: &str, id: &str) -> S3Result<&mut UploadState> {
        let name = (key.to_owned(), id.to_owned());
        let upload = self.uploads.get_mut(&name);
        upload.ok_or_else(|| failure(S3ErrorCode::NoSuchUpload))
    }
}
