//! S3 buckets and their objects.

use std::collections::HashMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::timeouts::{ATTEMPT, attempts_of};

mod files;

/// One bucket. Every call fails with [`ObjectError::NoBucket`] when it does not exist, and with [`ObjectError::Unavailable`]
/// when the store cannot be reached or refuses.
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
    #[error(
        "the bucket {0} belongs to another AWS account; bucket names are unique on all of AWS, so choose another \
         MUSTER_PREFIX (--prefix)"
    )]
    Taken(String),
    /// AWS accepts 1,024 bytes, other implementations fewer.
    #[error("the object store accepts no key of {0} bytes")]
    KeyTooLong(usize),
    #[error("the object store failed: {0}")]
    Unavailable(String),
    #[error("a file of this machine failed: {0}")]
    File(String),
}

/// The result of [`Objects::put_if_absent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// An object with this key exists. Nothing was changed.
    Exists,
}

/// An object's content and its entity tag, which changes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    pub body: Bytes,
    pub etag: String,
}

/// The condition of [`Objects::swap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Absent,
    /// The object has this entity tag.
    Unchanged(String),
}

/// The result of [`Objects::swap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// The object is stored, with this entity tag.
    Stored(String),
    /// The condition does not hold, or another put was under way. Nothing was changed.
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

    /// Creates the bucket, unless this account has it. Fails when another account owns it.
    pub async fn ensure(&self) -> Result<(), ObjectError> {
        let head = self.client.head_bucket().bucket(&self.bucket);
        let found = head.customize().config_override(brief()).send().await;
        if found.is_ok() {
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
            Err(error) if error.code() == Some("BucketAlreadyExists") => {
                Err(ObjectError::Taken(self.bucket.clone()))
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Returns the HTTP status of a HEAD of the bucket: 404 when it does not exist, 403 when another account owns it or
    /// access is denied, 301 when it is in another region.
    #[inline(never)]
    pub fn head(&self) -> BoxFuture<'_, Result<u16, ObjectError>> {
        let head = self.client.head_bucket().bucket(&self.bucket);
        let head = head.customize().config_override(brief()).send();
        Box::pin(async move {
            let Err(error) = head.await else {
                return Ok(200);
            };
            let status = error.raw_response().map(|it| it.status().as_u16());
            status.ok_or_else(|| unavailable(&error))
        })
    }

    /// Stores the object atomically, unless the key exists.
    pub async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        metadata: Metadata,
    ) -> Result<Put, ObjectError> {
        let put = self.request(key, body, metadata).if_none_match("*");
        match put.send().await {
            Ok(_) => Ok(Put::Stored),
            Err(error) if is_conflict(&error) => Ok(Put::Exists),
            Err(error) => Err(classify(key, &error)),
        }
    }

    /// Stores the object atomically, if the condition holds. There are no retries: a first attempt that succeeded would
    /// make the second one fail. When the future fails or is dropped, the put may have happened or may still happen.
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
                    "the reply to a put has no entity tag".to_owned(),
                )),
            },
            // S3 replies NoSuchKey when the object that was to be unchanged is gone.
            Err(error) if is_conflict(&error) || error.code() == Some("NoSuchKey") => {
                Ok(Swap::Refused)
            }
            Err(error) => Err(classify(key, &error)),
        }
    }

    /// Reads an object with its entity tag. Returns `None` when the key does not exist.
    pub async fn get_tagged(&self, key: &str) -> Result<Option<Tagged>, ObjectError> {
        match self.read(key).await {
            Ok(tagged) => Ok(Some(tagged)),
            Err(ObjectError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores the object, and replaces an existing one.
    pub async fn put(&self, key: &str, body: Bytes, metadata: Metadata) -> Result<(), ObjectError> {
        let put = self.request(key, body, metadata).send().await;
        put.map(drop).map_err(|error| classify(key, &error))
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] when the key does not exist.
    pub async fn get(&self, key: &str) -> Result<Bytes, ObjectError> {
        Ok(self.read(key).await?.body)
    }

    async fn read(&self, key: &str) -> Result<Tagged, ObjectError> {
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let got = request
            .send()
            .await
            .map_err(|error| classify(key, &error))?;
        let body = got.body.collect().await.map_err(|e| unavailable(&e))?;
        Ok(Tagged {
            body: body.into_bytes(),
            etag: got.e_tag.unwrap_or_default(),
        })
    }

    /// Reads an object's user metadata.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] when the key does not exist.
    pub async fn metadata(&self, key: &str) -> Result<Metadata, ObjectError> {
        let head = self.client.head_object().bucket(&self.bucket).key(key);
        let head = head.customize().config_override(brief()).send().await;
        let head = head.map_err(|error| classify(key, &error))?;
        Ok(head.metadata.unwrap_or_default())
    }

    /// Deletes the object, if it exists.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let delete = self.client.delete_object().bucket(&self.bucket).key(key);
        let deleted = delete.customize().config_override(brief()).send().await;
        deleted.map(drop).map_err(|error| unavailable(&error))
    }

    /// Counts the objects. Returns 0 when the bucket does not exist.
    pub async fn count(&self) -> Result<u64, ObjectError> {
        Ok(self.keys().await?.len() as u64)
    }

    /// Lists all keys. Returns none when the bucket does not exist.
    pub async fn keys(&self) -> Result<Vec<String>, ObjectError> {
        self.keys_under("").await
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

/// Overrides the timeouts of calls that carry neither a photo nor a list.
fn brief() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::new().timeout_config(attempts_of(ATTEMPT))
}

/// Returns whether a condition did not hold, or another conditional put of this key was under way.
fn is_conflict(error: &impl ProvideErrorMetadata) -> bool {
    matches!(
        error.code(),
        Some("ConditionalRequestConflict" | "PreconditionFailed")
    )
}

fn classify<E, R>(key: &str, error: &SdkError<E, R>) -> ObjectError
where
    SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
{
    // The reply to a HEAD has no body, hence no code. The modeled error's name stands in for it.
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
