//! Copies of objects, and of byte ranges for parts.

use std::fs::File;
use std::ops::Range as Bytes;
use std::sync::Arc;

use http::header;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::Api;
use super::input::{check_acl, check_encryption, check_key, check_version, description};
use crate::s3::checksums::{Algorithm, Checksum, Digests, set_checksum};
use crate::s3::conditions::{ReadConditions, check_write, condition_of, to_etag, to_timestamp};
use crate::s3::failure::{failure_with, internal, invalid_argument, unsupported};
use crate::s3::receive::{MAX_UPLOAD_BYTES, ReceivedBody};
use crate::s3::staging::{CHUNK_BYTES, StagedFile, run_blocking};
use crate::s3::store::Object;
use crate::s3::tags;

impl Api {
    pub(super) async fn do_copy_object(
        &self,
        mut request: S3Request<CopyObjectInput>,
    ) -> S3Result<CopyObjectOutput> {
        let input = &mut request.input;
        self.check_bucket(&input.bucket)?;
        check_key(&input.key)?;
        check_acl(input.acl.as_ref().map(ObjectCannedACL::as_str), false)?;
        check_encryption(
            input.sse_customer_key.is_some() || input.copy_source_sse_customer_key.is_some(),
            input.server_side_encryption.as_ref(),
        )?;
        let conditions = ReadConditions {
            if_match: input.copy_source_if_match.take(),
            if_none_match: input.copy_source_if_none_match.take(),
            if_modified_since: input.copy_source_if_modified_since.take(),
            if_unmodified_since: input.copy_source_if_unmodified_since.take(),
        };
        let if_match = condition_of(&request.headers, &header::IF_MATCH)?;
        let if_none_match = condition_of(&request.headers, &header::IF_NONE_MATCH)?;
        let (source, file) = self.open_source(&input.copy_source, &conditions)?;
        let directive = input.metadata_directive.as_ref();
        let replaces = is_replace(directive.map(MetadataDirective::as_str))?;
        let directive = input.tagging_directive.as_ref();
        let replaces_tags = is_replace(directive.map(TaggingDirective::as_str))?;
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
        let mut description = description!(input, &request.extensions)?;
        if !replaces {
            // A copy takes over everything but the storage class and the redirect.
            let redirect = description.website_redirect_location.take();
            let storage_class = description.storage_class.take();
            description = source.description.clone();
            description.website_redirect_location = redirect;
            description.storage_class = storage_class;
        }
        let tags = match replaces_tags {
            true => tags::from_header(input.tagging.as_deref())?,
            false => source.tags.clone(),
        };
        let requested = input.checksum_algorithm.as_ref().and_then(Algorithm::of);
        let own = source.checksum.as_ref().map(|checksum| checksum.algorithm);
        let algorithm = requested.or(own).unwrap_or(Algorithm::Crc64nvme);
        let copied = self
            .copy_bytes(file, 0..source.size, Some(algorithm))
            .await?;
        let object = self.new_object(&input.key, &copied, description, tags);
        self.store_object(
            &input.bucket,
            &object,
            copied.staged,
            "ObjectCreated:Copy",
            &request.extensions,
            |file| {
                self.store
                    .put(&input.bucket, object.clone(), file, |present| {
                        check_write(if_match.as_ref(), if_none_match.as_ref(), present)
                    })
            },
        )
        .await?;
        let mut result = CopyObjectResult {
            e_tag: Some(to_etag(&object)),
            last_modified: Some(to_timestamp(object.modified)),
            checksum_type: object.checksum.as_ref().map(Checksum::type_dto),
            ..Default::default()
        };
        set_checksum!(result, object.checksum.as_ref());
        Ok(CopyObjectOutput {
            copy_object_result: Some(result),
            ..Default::default()
        })
    }

    /// Opens the source of a copy.
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
        source: File,
        bytes: Bytes<u64>,
        algorithm: Option<Algorithm>,
    ) -> S3Result<ReceivedBody> {
        let size = bytes.end - bytes.start;
        if size > MAX_UPLOAD_BYTES {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
            ));
        }
        let store = Arc::clone(&self.store);
        let copy = move || {
            let mut digests = Digests::new(algorithm);
            let mut staged = StagedFile::default();
            staged.push_file(&store, &source, bytes, |chunk| digests.update(chunk))?;
            let (md5, checksum) = digests.finish();
            Ok(ReceivedBody {
                staged,
                size,
                etag: hex::encode(md5),
                checksum,
            })
        };
        let copied = match size <= CHUNK_BYTES as u64 {
            true => copy(),
            false => run_blocking(copy).await,
        };
        copied.map_err(internal)
    }
}

fn is_replace(directive: Option<&str>) -> S3Result<bool> {
    match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(invalid_argument("Unknown directive.")),
    }
}
