//! Uploads in parts, until they become objects.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use s3s::{S3Error, S3ErrorCode, S3Result};
use tracing::warn;

use super::file::Temporary;
use super::{Object, Part, Store, Upload, UploadInParts};
use crate::s3::failure::{failure, internal};

impl Store {
    /// Begins an upload.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub fn begin_upload(&self, bucket: &str, upload: Upload) -> S3Result<()> {
        let folder = self.upload_folder(bucket, &upload.id);
        self.with_bucket(bucket, |bucket| {
            let text = serde_json::to_vec(&upload).map_err(|error| internal(error.into()))?;
            let write = || -> io::Result<()> {
                let mut file = self.temporary()?;
                file.write(&text)?;
                fs::create_dir_all(&folder)?;
                file.move_to(&folder.join("upload.json"))
            };
            write().map_err(internal)?;
            let name = (upload.key.clone(), upload.id.clone());
            let upload = UploadInParts {
                upload: Arc::new(upload),
                parts: Default::default(),
            };
            bucket.uploads.insert(name, upload);
            Ok(())
        })
    }

    /// An upload and its parts.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchUpload`.
    pub fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<UploadInParts> {
        self.with_bucket(bucket, |bucket| {
            let name = (key.to_owned(), id.to_owned());
            bucket.uploads.get(&name).cloned().ok_or_else(no_upload)
        })
    }

    /// Puts a part into its place, over an older one of its number.
    ///
    /// # Errors
    /// As `upload`.
    pub fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        part: Part,
        file: Temporary,
    ) -> S3Result<()> {
        let place = self.part_file(bucket, id, part.number);
        self.with_bucket(bucket, |bucket| {
            let name = (key.to_owned(), id.to_owned());
            let upload = bucket.uploads.get_mut(&name).ok_or_else(no_upload)?;
            file.move_to(&place).map_err(internal)?;
            upload.parts.insert(part.number, Arc::new(part));
            Ok(())
        })
    }

    /// The file that begins with a part's bytes, if the part is still this one.
    ///
    /// # Errors
    /// As `upload`, and `InvalidPart` when it was replaced.
    pub fn open_part(&self, bucket: &str, upload: &Upload, part: &Part) -> S3Result<File> {
        let place = self.part_file(bucket, &upload.id, part.number);
        self.with_bucket(bucket, |bucket| {
            let name = (upload.key.clone(), upload.id.clone());
            let present = bucket.uploads.get(&name).ok_or_else(no_upload)?;
            match present.parts.get(&part.number) {
                Some(present) if present.as_ref() == part => File::open(place).map_err(internal),
                _ => Err(failure(S3ErrorCode::InvalidPart)),
            }
        })
    }

    /// Puts the object that an upload became into its place, as `put` does, and ends the upload.
    ///
    /// # Errors
    /// As `upload` and `put`.
    pub fn complete_upload(
        &self,
        bucket_name: &str,
        id: &str,
        object: Object,
        file: Temporary,
        check: impl FnOnce(Option<&Object>) -> S3Result<()>,
    ) -> S3Result<u64> {
        let place = self.object_file(bucket_name, &object.key);
        let folder = self.upload_folder(bucket_name, id);
        self.with_bucket(bucket_name, |bucket| {
            let name = (object.key.clone(), id.to_owned());
            if !bucket.uploads.contains_key(&name) {
                return Err(no_upload());
            }
            check(bucket.objects.get(&object.key).map(Arc::as_ref))?;
            file.move_to(&place).map_err(internal)?;
            bucket.objects.insert(object.key.clone(), Arc::new(object));
            bucket.uploads.remove(&name);
            // The object is there, whatever becomes of the parts.
            if let Err(error) = self.discard_folder(&folder) {
                warn!(%error, "the parts of an upload stay");
            }
            Ok(self.number())
        })
    }

    /// Ends an upload and forgets its parts.
    ///
    /// # Errors
    /// As `upload`.
    pub fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let folder = self.upload_folder(bucket, id);
        self.with_bucket(bucket, |bucket| {
            let name = (key.to_owned(), id.to_owned());
            bucket.uploads.remove(&name).ok_or_else(no_upload)?;
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

fn no_upload() -> S3Error {
    failure(S3ErrorCode::NoSuchUpload)
}
