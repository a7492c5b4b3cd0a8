//! S3 objects that know what they were made from, so that an event that comes twice changes nothing.

use std::collections::HashMap;
use std::path::Path;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use tokio::io::AsyncWriteExt;

use crate::event::ObjectName;
use crate::failure::Failure;

/// Metadata: what the object was made from, as [`crate::keys::label`], and the entity tag of that.
pub const SOURCE: &str = "muster-source";
pub const SOURCE_ETAG: &str = "muster-source-etag";

/// Another put of a key may be under way so often before a put gives up.
const ATTEMPTS: usize = 5;

/// An object's user metadata: ASCII keys and values.
pub type Metadata = HashMap<String, String>;

/// An object's head, and its body if it was asked for.
#[derive(Debug, Clone)]
pub struct Object<B> {
    pub etag: String,
    pub metadata: Metadata,
    pub body: B,
}

/// The result of [`Objects::download`].
#[derive(Debug)]
pub enum Download {
    /// The file is there; the object has this entity tag.
    Done(String),
    Missing,
    /// With its entity tag.
    TooLarge(String),
}

/// The result of [`Objects::store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    New,
    /// It was made from an older object of that key.
    Replaced,
    /// It was stored before, from the same source. Nothing was changed.
    Before,
    /// The key has an object that was made from another key. Nothing was changed.
    Taken,
}

/// What an object is made from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// As [`crate::keys::label`].
    pub label: &'a str,
    pub etag: &'a str,
}

#[derive(Debug, Clone)]
pub struct Objects {
    client: Client,
}

impl Objects {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads an object; `None` if it is not there.
    pub async fn get(&self, name: &ObjectName) -> Result<Option<Object<Vec<u8>>>, Failure> {
        let request = self.client.get_object();
        let got = match request.bucket(&name.bucket).key(&name.key).send().await {
            Ok(got) => got,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(Failure::unavailable("GetObject", &error)),
        };
        let body = got.body.collect().await;
        let body = body.map_err(|error| Failure::unavailable("GetObject", &error))?;
        Ok(Some(Object {
            etag: bare(got.e_tag),
            metadata: got.metadata.unwrap_or_default(),
            body: body.to_vec(),
        }))
    }

    /// Reads what an object is made from; `None` if it is not there.
    pub async fn head(&self, name: &ObjectName) -> Result<Option<Object<()>>, Failure> {
        let request = self.client.head_object();
        match request.bucket(&name.bucket).key(&name.key).send().await {
            Ok(head) => Ok(Some(Object {
                etag: bare(head.e_tag),
                metadata: head.metadata.unwrap_or_default(),
                body: (),
            })),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(Failure::unavailable("HeadObject", &error)),
        }
    }

    /// Writes an object to a file, up to a limit of bytes.
    pub async fn download(
        &self,
        name: &ObjectName,
        limit: u64,
        to: &Path,
    ) -> Result<Download, Failure> {
        let request = self.client.get_object();
        let mut got = match request.bucket(&name.bucket).key(&name.key).send().await {
            Ok(got) => got,
            Err(error) if is_missing(&error) => return Ok(Download::Missing),
            Err(error) => return Err(Failure::unavailable("GetObject", &error)),
        };
        let etag = bare(got.e_tag);
        let size = got.content_length.and_then(|size| u64::try_from(size).ok());
        if size.is_some_and(|size| size > limit) {
            return Ok(Download::TooLarge(etag));
        }
        let mut file = tokio::fs::File::create(to).await?;
        let mut written = 0;
        while let Some(bytes) = got.body.next().await {
            let bytes = bytes.map_err(|error| Failure::unavailable("GetObject", &error))?;
            written += bytes.len() as u64;
            if written > limit {
                return Ok(Download::TooLarge(etag));
            }
            file.write_all(&bytes).await?;
        }
        file.flush().await?;
        Ok(Download::Done(etag))
    }

    /// Stores an object that is made from `source`, unless the key has one from the same source already, or from another key.
    pub async fn store(
        &self,
        name: &ObjectName,
        body: Vec<u8>,
        mut metadata: Metadata,
        source: Source<'_>,
    ) -> Result<Stored, Failure> {
        metadata.insert(SOURCE.to_owned(), source.label.to_owned());
        metadata.insert(SOURCE_ETAG.to_owned(), source.etag.to_owned());
        let mut condition = None;
        for _ in 0..ATTEMPTS {
            let put = self.client.put_object();
            let put = put.bucket(&name.bucket).key(&name.key);
            let put = put.set_metadata(Some(metadata.clone()));
            let put = put.body(ByteStream::from(body.clone()));
            let (put, stored) = match &condition {
                None => (put.if_none_match("*"), Stored::New),
                Some(etag) => (put.if_match(etag), Stored::Replaced),
            };
            match put.send().await {
                Ok(_) => return Ok(stored),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(Failure::unavailable("PutObject", &error)),
            }
            condition = match self.head(name).await? {
                // It was deleted meanwhile, or the other put has not ended.
                None => None,
                Some(there) if !there.is_from(source.label) => return Ok(Stored::Taken),
                Some(there) if there.is_of(source) => return Ok(Stored::Before),
                Some(there) => Some(format!("\"{}\"", there.etag)),
            };
        }
        let ObjectName { bucket, key } = name;
        Err(Failure::Unavailable(format!(
            "others write the object {key:?} of the bucket {bucket} all the time"
        )))
    }

    /// Fails if an object is no longer the one with this entity tag.
    pub async fn check_unchanged(&self, name: &ObjectName, etag: &str) -> Result<(), Failure> {
        match self.head(name).await? {
            Some(now) if now.etag != etag => Err(Failure::Changed(name.key.clone())),
            _ => Ok(()),
        }
    }

    /// Lists the keys that begin with `prefix`.
    pub async fn keys(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, Failure> {
        let list = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let mut pages = list.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Failure::unavailable("ListObjectsV2", &error))?;
            keys.extend(page.contents.into_iter().flatten().filter_map(|it| it.key));
        }
        Ok(keys)
    }
}

impl<B> Object<B> {
    /// Returns whether it was made from a key with this label.
    pub fn is_from(&self, label: &str) -> bool {
        self.metadata.get(SOURCE).is_some_and(|it| it == label)
    }

    /// Returns whether it was made from that very object.
    pub fn is_of(&self, source: Source<'_>) -> bool {
        let etag = self.metadata.get(SOURCE_ETAG);
        self.is_from(source.label) && etag.is_some_and(|etag| etag == source.etag)
    }
}

fn bare(etag: Option<String>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

/// The reply to a HEAD has no body, hence no code of its own.
fn is_missing<E, R>(error: &SdkError<E, R>) -> bool
where
    SdkError<E, R>: ProvideErrorMetadata,
{
    matches!(error.code(), Some("NoSuchKey" | "NotFound"))
}

/// Returns whether a condition did not hold, another conditional put of the key was under way, or the object to replace
/// is gone.
fn is_conflict(error: &impl ProvideErrorMetadata) -> bool {
    matches!(
        error.code(),
        Some("ConditionalRequestConflict" | "PreconditionFailed" | "NoSuchKey")
    )
}
