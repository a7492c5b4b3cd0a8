//! Writing and deleting objects.

use std::collections::BTreeMap;

use http::Method;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::reading::checksum_type;
use super::tags::parse_tags;
use super::{Api, caller, check_acl, check_encryption, check_version};
use crate::s3::caller::Caller;
use crate::s3::checksums::{Algorithm, declared_checksums, show_checksum};
use crate::s3::conditions::{check_write, shown_etag, unix_seconds};
use crate::s3::events::Event;
use crate::s3::failure::{failure, internal, invalid_argument};
use crate::s3::receive::{Declared, Trailers};
use crate::s3::store::{Description, Object};

const MOST_METADATA_BYTES: usize = 2048;
const MOST_DELETED_KEYS: usize = 1000;
const STORAGE_CLASSES: [&str; 6] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
];

/// Reads an object's description from the fields of an input.
macro_rules! description {
    ($input:expr) => {
        $crate::s3::api::objects::describe(
            crate::s3::store::Description {
                content_type: $input.content_type.take().map(Into::into),
                cache_control: $input.cache_control.take(),
                content_disposition: $input.content_disposition.take(),
                content_encoding: $input
                    .content_encoding
                    .take()
                    .and_then($crate::s3::api::objects::stored_encoding),
                content_language: $input.content_language.take(),
                expires: $input
                    .expires
                    .take()
                    .map(|time| crate::s3::conditions::unix_seconds(&time)),
                website_redirect_location: $input.website_redirect_location.take(),
                ..Default::default()
            },
            $input.storage_class.as_ref().map(StorageClass::as_str),
            $input.metadata.take(),
        )
    };
}
pub(super) use description;

impl Api {
    pub(super) async fn do_put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<PutObjectOutput> {
        // A form of a browser comes here as well.
        let event = match request.method {
            Method::POST => "ObjectCreated:Post",
            _ => "ObjectCreated:Put",
        };
        let input = &mut request.input;
        self.store.with_bucket(&input.bucket, |_| Ok(()))?;
        check_key(&input.key)?;
        let grants = input.grant_full_control.is_some()
            || input.grant_read.is_some()
            || input.grant_read_acp.is_some()
            || input.grant_write_acp.is_some();
        check_acl(input.acl.as_ref().map(ObjectCannedACL::as_str), grants)?;
        check_encryption(
            input.sse_customer_key.is_some(),
            input
                .server_side_encryption
                .as_ref()
                .map(ServerSideEncryption::as_str),
        )?;
        let description = description!(input)?;
        let tags = parse_tags(input.tagging.as_deref())?;
        let named = input
            .checksum_algorithm
            .as_ref()
            .and_then(|algorithm| Algorithm::named(algorithm.as_str()));
        let declared = Declared {
            content_length: input.content_length,
            content_md5: input.content_md5.take(),
            checksums: declared_checksums!(input),
            trailer: Declared::announced_trailer(&request.headers)?,
            otherwise: named.or(Some(Algorithm::Crc64nvme)),
        };
        let trailers = Trailers::of(request.trailing_headers.take(), &mut request.extensions);
        let received = declared
            .receive(&self.store, input.body.take(), trailers)
            .await?;
        let object = Object {
            key: input.key.clone(),
            number: self.store.number(),
            size: received.size,
            etag: received.etag,
            modified: self.store.now(),
            description,
            tags,
            checksum: received.checksum,
            parts: Vec::new(),
        };
        let file = received
            .pending
            .seal_here(&self.store, &object)
            .map_err(internal)?;
        let sequencer = self
            .store
            .put(&input.bucket, object.clone(), file, |present| {
                check_write(
                    input.if_match.as_ref(),
                    input.if_none_match.as_ref(),
                    present,
                )
            })?;
        let event = Event {
            name: event,
            bucket: &input.bucket,
            key: &input.key,
            object: Some(&object),
            sequencer,
        };
        self.announce(&event, &caller(&request.extensions)).await;
        let mut output = PutObjectOutput {
            e_tag: Some(shown_etag(&object)),
            checksum_type: checksum_type(&object),
            server_side_encryption: input.server_side_encryption.take(),
            ..Default::default()
        };
        show_checksum!(output, object.checksum.as_ref());
        Ok(output)
    }

    pub(super) async fn do_delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<DeleteObjectOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        self.delete(
            &input.bucket,
            &input.key,
            &caller(&request.extensions),
            |present| {
                check_write(input.if_match.as_ref(), None, present)?;
                let time = input.if_match_last_modified_time.as_ref();
                check_version_of(present, input.if_match_size, time)
            },
        )
        .await?;
        Ok(DeleteObjectOutput::default())
    }

    pub(super) async fn do_delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<DeleteObjectsOutput> {
        let input = request.input;
        let objects = input.delete.objects;
        if objects.is_empty() || objects.len() > MOST_DELETED_KEYS {
            return Err(failure(S3ErrorCode::MalformedXML));
        }
        let caller = caller(&request.extensions);
        let quiet = input.delete.quiet == Some(true);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for wanted in objects {
            let condition = wanted.e_tag.map(ETagCondition::ETag);
            let result = match check_version(wanted.version_id.as_deref()) {
                Ok(()) => {
                    self.delete(&input.bucket, &wanted.key, &caller, |present| {
                        check_write(condition.as_ref(), None, present)?;
                        let time = wanted.last_modified_time.as_ref();
                        check_version_of(present, wanted.size, time)
                    })
                    .await
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(wanted.key),
                    ..Default::default()
                }),
                Err(error) if *error.code() == S3ErrorCode::NoSuchBucket => return Err(error),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(wanted.key),
                    message: error.message().map(str::to_owned),
                    version_id: wanted.version_id,
                }),
            }
        }
        Ok(DeleteObjectsOutput {
            deleted: (!deleted.is_empty()).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        })
    }

    async fn delete(
        &self,
        bucket: &str,
        key: &str,
        caller: &Caller,
        check: impl FnOnce(Option<&Object>) -> S3Result<()>,
    ) -> S3Result<()> {
        let Some((_, sequencer)) = self.store.delete(bucket, key, check)? else {
            return Ok(());
        };
        let event = Event {
            name: "ObjectRemoved:Delete",
            bucket,
            key,
            object: None,
            sequencer,
        };
        self.announce(&event, caller).await;
        Ok(())
    }
}

/// Keys have 1 to 1024 bytes.
pub(super) fn check_key(key: &str) -> S3Result<()> {
    if key.is_empty() {
        return Err(invalid_argument("A key must not be empty"));
    }
    if key.len() > 1024 {
        return Err(failure(S3ErrorCode::KeyTooLongError));
    }
    Ok(())
}

/// Checks what is said of an object, and completes it.
pub(super) fn describe(
    mut description: Description,
    storage_class: Option<&str>,
    metadata: Option<Metadata>,
) -> S3Result<Description> {
    match storage_class {
        None | Some("STANDARD") => {}
        Some(class) if STORAGE_CLASSES.contains(&class) => {
            description.storage_class = Some(class.to_owned());
        }
        Some(_) => return Err(failure(S3ErrorCode::InvalidStorageClass)),
    }
    let metadata: BTreeMap<_, _> = metadata.unwrap_or_default().into_iter().collect();
    let bytes: usize = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MOST_METADATA_BYTES {
        return Err(failure(S3ErrorCode::MetadataTooLarge));
    }
    description.metadata = metadata;
    Ok(description)
}

/// `aws-chunked` is how the bytes came, not how they are kept.
pub(super) fn stored_encoding(encoding: String) -> Option<String> {
    let kept: Vec<_> = encoding
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty() && *one != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn check_version_of(
    present: Option<&Object>,
    size: Option<i64>,
    time: Option<&Timestamp>,
) -> S3Result<()> {
    let Some(object) = present else {
        return Ok(());
    };
    let other_size = size.is_some_and(|size| size != object.size as i64);
    let other_time = time.is_some_and(|time| unix_seconds(time) != (object.modified / 1000) as i64);
    if other_size || other_time {
        return Err(failure(S3ErrorCode::PreconditionFailed));
    }
    Ok(())
}
