use std::collections::HashMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use crate::aws::{ATTEMPT, attempts_of};

/// One bucket.
#[derive(Debug, Clone)]
pub struct Objects {
    client: Client,
    bucket: String,
}

/// An object's user metadata: ASCII keys and values.
pub type Metadata = HashMap<String, String>;

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("no object {0:?}")]
    NotFound(String),
    #[error("the bucket does not exist")]
    NoBucket,
    /// AWS takes 1,024 bytes, other implementations less.
    #[error("the object store takes no key of {0} bytes")]
    KeyTooLong(usize),
    #[error("the object store failed: {0}")]
    Unavailable(String),
}

/// What became of a conditional put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// An object of this key exists; nothing was changed.
    Exists,
}

/// An object's content and its entity tag, which changes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    pub body: Bytes,
    pub etag: String,
}

/// What an object has to be like for a conditional put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Absent,
    /// It has this entity tag.
    Unchanged(String),
}

/// What became of a put under a [`Condition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// It is stored, and has this entity tag now.
    Stored(String),
    /// The condition does not hold, or another put was under way; nothing was changed.
    Refused,
}

impl Objects {
    pub(crate) fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }

    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Creates the bucket unless it exists and is ours.
    ///
    /// # Errors
    /// When the store cannot be reached, or the bucket belongs to somebody else.
    pub async fn ensure(&self) -> Result<(), ObjectError> {
        if self
            .client
            .head_bucket()
            .bucket(&self.bucket)
            .customize()
            .config_override(brief())
            .send()
            .await
            .is_ok()
        {
            return Ok(());
        }
        let region = self.client.config().region().map(ToString::to_string);
        let placement = region.filter(|region| region != "us-east-1").map(|region| {
            aws_sdk_s3::types::CreateBucketConfiguration::builder()
                .location_constraint(region.as_str().into())
                .build()
        });
        let created = self
            .client
            .create_bucket()
            .bucket(&self.bucket)
            .set_create_bucket_configuration(placement)
            .send()
            .await;
        match created {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Stores the object only if the key is free, atomically.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        metadata: Metadata,
    ) -> Result<Put, ObjectError> {
        let put = self
            .request(key, body, metadata)
            .if_none_match("*")
            .send()
            .await;
        match put {
            Ok(_) => Ok(Put::Stored),
            // 409: another conditional put of this key is under way; it or a later one decides, so ask again.
            Err(error) if error.code() == Some("ConditionalRequestConflict") => Ok(Put::Exists),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(Put::Exists),
            Err(error) => Err(classify(key, &error)),
        }
    }

    /// Stores the object only if the condition holds, atomically. It is asked once, as an earlier attempt would make the
    /// condition of the next one fail; when this future is dropped or fails, the put may have happened or happen yet.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn swap(
        &self,
        key: &str,
        body: Bytes,
        condition: &Condition,
    ) -> Result<Swap, ObjectError> {
        let request = self.request(key, body, Metadata::new());
        let request = match condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Unchanged(etag) => request.if_match(etag),
        };
        let once = aws_sdk_s3::config::Builder::new().retry_config(RetryConfig::disabled());
        match request.customize().config_override(once).send().await {
            Ok(put) => match put.e_tag {
                Some(etag) => Ok(Swap::Stored(etag)),
                None => Err(ObjectError::Unavailable(
                    "the put was answered without an entity tag".to_owned(),
                )),
            },
            // S3 answers NoSuchKey when an object that was to be unchanged is gone.
            Err(error)
                if matches!(
                    error.code(),
                    Some("ConditionalRequestConflict" | "PreconditionFailed" | "NoSuchKey")
                ) =>
            {
                Ok(Swap::Refused)
            }
            Err(error) => Err(classify(key, &error)),
        }
    }

    /// The object with its entity tag; `None` when the key is free.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses; [`ObjectError::NoBucket`] when there is no bucket.
    pub async fn get_tagged(&self, key: &str) -> Result<Option<Tagged>, ObjectError> {
        let got = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await;
        let got = match got.map_err(|error| classify(key, &error)) {
            Ok(got) => got,
            Err(ObjectError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let etag = got.e_tag.unwrap_or_default();
        match got.body.collect().await {
            Ok(body) => Ok(Some(Tagged {
                body: body.into_bytes(),
                etag,
            })),
            Err(error) => Err(ObjectError::Unavailable(
                DisplayErrorContext(&error).to_string(),
            )),
        }
    }

    /// Stores the object, replacing what was there.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn put(&self, key: &str, body: Bytes, metadata: Metadata) -> Result<(), ObjectError> {
        match self.request(key, body, metadata).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(classify(key, &error)),
        }
    }

    /// # Errors
    /// [`ObjectError::NotFound`] when the key is free.
    pub async fn get(&self, key: &str) -> Result<Bytes, ObjectError> {
        let got = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await;
        let body = got.map_err(|error| classify(key, &error))?.body;
        let collected = body.collect().await;
        collected
            .map(aws_sdk_s3::primitives::AggregatedBytes::into_bytes)
            .map_err(|error| ObjectError::Unavailable(DisplayErrorContext(&error).to_string()))
    }

    /// # Errors
    /// [`ObjectError::NotFound`] when the key is free.
    pub async fn metadata(&self, key: &str) -> Result<Metadata, ObjectError> {
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .customize()
            .config_override(brief())
            .send()
            .await;
        let head = head.map_err(|error| classify(key, &error))?;
        Ok(head.metadata.unwrap_or_default())
    }

    /// Deletes the object; a free key is no error.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let deleted = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .customize()
            .config_override(brief())
            .send()
            .await;
        deleted.map(|_| ()).map_err(|error| unavailable(&error))
    }

    /// How many objects the bucket holds; 0 when the bucket does not exist.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn count(&self) -> Result<u64, ObjectError> {
        Ok(self.keys().await?.len() as u64)
    }

    /// All keys; none when the bucket does not exist.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn keys(&self) -> Result<Vec<String>, ObjectError> {
        let mut keys = Vec::new();
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => keys.extend(page.contents().iter().filter_map(|o| o.key.clone())),
                Err(error) if error.code() == Some("NoSuchBucket") => return Ok(Vec::new()),
                Err(error) => return Err(unavailable(&error)),
            }
        }
        Ok(keys)
    }

    fn request(
        &self,
        key: &str,
        body: Bytes,
        metadata: Metadata,
    ) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .set_metadata(Some(metadata))
            .body(ByteStream::from(body))
    }
}

/// For calls that carry neither a photo nor a list.
fn brief() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::new().timeout_config(attempts_of(ATTEMPT))
}

fn classify<E, R>(key: &str, error: &SdkError<E, R>) -> ObjectError
where
    SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
{
    // A HEAD has no body, hence no code: the modelled error's name stands in for it.
    match error.code() {
        Some("NoSuchKey" | "NotFound") => ObjectError::NotFound(key.to_owned()),
        Some("NoSuchBucket") => ObjectError::NoBucket,
        Some("KeyTooLongError") => ObjectError::KeyTooLong(key.len()),
        _ => unavailable(error),
    }
}

fn unavailable<E: std::error::Error>(error: &E) -> ObjectError {
    ObjectError::Unavailable(DisplayErrorContext(error).to_string())
}
