//! Objects that are too large for memory, and folders.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use tokio::io::AsyncWriteExt;

use super::{ObjectError, Objects, classify, unavailable};
use crate::timeouts::attempts_of;

/// Timeout of one attempt of a call that carries a file.
const ATTEMPT: Duration = Duration::from_secs(300);

fn patient() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::new().timeout_config(attempts_of(ATTEMPT))
}

impl Objects {
    /// Stores a file, up to 5 GiB, in bounded memory. Replaces an existing object.
    ///
    /// # Errors
    /// [`ObjectError::File`] when the file cannot be read.
    pub async fn put_file(&self, key: &str, file: &Path) -> Result<(), ObjectError> {
        let body = ByteStream::from_path(file).await;
        let body = body.map_err(|error| ObjectError::File(error.to_string()))?;
        let put = self.client.put_object().bucket(&self.bucket).key(key);
        let put = put.body(body).customize().config_override(patient());
        put.send()
            .await
            .map(drop)
            .map_err(|error| classify(key, &error))
    }

    /// Writes an object to a file, in bounded memory.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] when the key does not exist, [`ObjectError::File`] when the file cannot be written.
    pub async fn get_file(&self, key: &str, file: &Path) -> Result<(), ObjectError> {
        let get = self.client.get_object().bucket(&self.bucket).key(key);
        let got = get.customize().config_override(patient()).send().await;
        let mut body = got.map_err(|error| classify(key, &error))?.body;
        let failed = |error: std::io::Error| ObjectError::File(error.to_string());
        let mut file = tokio::fs::File::create(file).await.map_err(failed)?;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| unavailable(&error))?;
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)
    }

    /// Lists the keys that begin with `prefix`, in order. Returns none when the bucket does not exist.
    pub async fn keys_under(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        let mut keys = Vec::new();
        let list = self.client.list_objects_v2().bucket(&self.bucket);
        let mut pages = list.prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => keys.extend(page.contents().iter().filter_map(|o| o.key.clone())),
                Err(error) if error.code() == Some("NoSuchBucket") => return Ok(Vec::new()),
                Err(error) => return Err(unavailable(&error)),
            }
        }
        Ok(keys)
    }
}
