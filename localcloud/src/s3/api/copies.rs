//! Copies: of objects, and of ranges of them into parts.

use std::fs::File;
use std::io;
use std::ops::Range as Bytes;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::objects::{check_key, description};
use super::reading::checksum_type;
use super::tags::parse_tags;
use super::{Api, caller, check_acl, check_encryption, check_version};
use crate::s3::checksums::{Algorithm, Checksum, show_checksum};
use crate::s3::conditions::{ReadConditions, shown_etag, shown_time};
use crate::s3::events::Event;
use crate::s3::failure::{failure_with, internal, unsupported};
use crate::s3::receive::{
    MOST_UPLOAD_BYTES, Pending, Received, WRITTEN_AT_ONCE_BYTES, on_other_thread,
};
use crate::s3::store::{Object, Store};

impl Api {
    pub(super) async fn do_copy_object(
        &self,
        mut request: S3Request<CopyObjectInput>,
    ) -> S3Result<CopyObjectOutput> {
        let input = &mut request.input;
        self.store.with_bucket(&input.bucket, |_| Ok(()))?;
        check_key(&input.key)?;
        check_acl(input.acl.as_ref().map(ObjectCannedACL::as_str), false)?;
        check_encryption(
            input.sse_customer_key.is_some() || input.copy_source_sse_customer_key.is_some(),
            input
                .server_side_encryption
                .as_ref()
                .map(ServerSideEncryption::as_str),
        )?;
        let conditions = ReadConditions {
            if_match: input.copy_source_if_match.take(),
            if_none_match: input.copy_source_if_none_match.take(),
            if_modified_since: input.copy_source_if_modified_since.take(),
            if_unmodified_since: input.copy_source_if_unmodified_since.take(),
        };
        let (source, file) = self.open_source(&input.copy_source, &conditions)?;
        if source.size > MOST_UPLOAD_BYTES {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
            ));
        }
        let replaces = is_replace(
            input
                .metadata_directive
                .as_ref()
                .map(MetadataDirective::as_str),
        )?;
        let replaces_tags = is_replace(
            input
                .tagging_directive
                .as_ref()
                .map(TaggingDirective::as_str),
        )?;
        let changes = replaces
            || input.storage_class.is_some()
            || input.website_redirect_location.is_some()
            || input.server_side_encryption.is_some();
        let itself = matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. }
            if **bucket == *input.bucket && **key == *input.key);
        if itself && !changes {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        // Neither the class nor the redirect are copied.
        let mut description = description!(input)?;
        if !replaces {
            let redirect = description.website_redirect_location.take();
            let storage_class = description.storage_class.take();
            description = source.description.clone();
            description.website_redirect_location = redirect;
            description.storage_class = storage_class;
        }
        let tags = match replaces_tags {
            true => parse_tags(input.tagging.as_deref())?,
            false => source.tags.clone(),
        };
        let named = input
            .checksum_algorithm
            .as_ref()
            .and_then(|algorithm| Algorithm::named(algorithm.as_str()));
        let own = source.checksum.as_ref().map(|checksum| checksum.algorithm);
        let algorithm = named.or(own).unwrap_or(Algorithm::Crc64nvme);
        let copied = self
            .copy_bytes(file, 0..source.size, Some(algorithm))
            .await?;
        let object = Object {
            key: input.key.clone(),
            number: self.store.number(),
            size: copied.size,
            etag: copied.etag,
            modified: self.store.now(),
            description,
            tags,
            checksum: copied.checksum,
            parts: Vec::new(),
        };
        let file = copied
            .pending
            .seal_here(&self.store, &object)
            .map_err(internal)?;
        let sequencer = self
            .store
            .put(&input.bucket, object.clone(), file, |_| Ok(()))?;
        let event = Event {
            name: "ObjectCreated:Copy",
            bucket: &input.bucket,
            key: &input.key,
            object: Some(&object),
            sequencer,
        };
        self.announce(&event, &caller(&request.extensions)).await;
        let mut result = CopyObjectResult {
            e_tag: Some(shown_etag(&object)),
            last_modified: Some(shown_time(object.modified)),
            checksum_type: checksum_type(&object),
            ..Default::default()
        };
        show_checksum!(result, object.checksum.as_ref());
        Ok(CopyObjectOutput {
            copy_object_result: Some(result),
            ..Default::default()
        })
    }

    /// What a copy is made of.
    pub(super) fn open_source(
        &self,
        source: &CopySource,
        conditions: &ReadConditions,
    ) -> S3Result<(Arc<Object>, File)> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(unsupported("copies from access points"));
        };
        check_version(version_id.as_deref())?;
        let (object, file) = self.store.open(bucket, key)?;
        conditions.check_source(&object)?;
        Ok((object, file))
    }

    /// Copies bytes of a file into a new one.
    pub(super) async fn copy_bytes(
        &self,
        file: File,
        bytes: Bytes<u64>,
        algorithm: Option<Algorithm>,
    ) -> S3Result<Received> {
        let few = bytes.end - bytes.start <= WRITTEN_AT_ONCE_BYTES as u64;
        let store = Arc::clone(&self.store);
        let copying = move || copy_here(&store, &file, bytes, algorithm);
        let copied = match few {
            true => copying(),
            false => on_other_thread(copying).await,
        };
        copied.map_err(internal)
    }
}

fn copy_here(
    store: &Store,
    file: &File,
    bytes: Bytes<u64>,
    algorithm: Option<Algorithm>,
) -> io::Result<Received> {
    let size = bytes.end - bytes.start;
    let mut md5 = Md5::new();
    let mut hasher = algorithm.map(Algorithm::hasher);
    let mut pending = Pending::default();
    read_through(file, bytes, |piece| {
        md5.update(piece);
        if let Some(hasher) = &mut hasher {
            hasher.update(piece);
        }
        pending.push_here(store, piece)
    })?;
    Ok(Received {
        pending,
        size,
        etag: hex::encode(md5.finalize()),
        checksum: algorithm.zip(hasher).map(|(algorithm, hasher)| Checksum {
            algorithm,
            value: hasher.finish(),
            composite: false,
        }),
    })
}

/// Reads bytes of a file piece by piece.
pub(super) fn read_through(
    file: &File,
    mut bytes: Bytes<u64>,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let most = bytes.end.saturating_sub(bytes.start);
    let mut buffer = vec![0; most.min(WRITTEN_AT_ONCE_BYTES as u64) as usize];
    while !bytes.is_empty() {
        let length = (bytes.end - bytes.start).min(buffer.len() as u64);
        let piece = &mut buffer[..length as usize];
        file.read_exact_at(piece, bytes.start)?;
        take(piece)?;
        bytes.start += length;
    }
    Ok(())
}

fn is_replace(directive: Option<&str>) -> S3Result<bool> {
    match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(failure_with(
            S3ErrorCode::InvalidArgument,
            "Unknown directive.",
        )),
    }
}
