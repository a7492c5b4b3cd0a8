//! Lists of objects.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Result};

use super::paging::{KeyEncoding, decode_token, encode_token, page_size};
use super::{Api, owner};
use crate::s3::checksums::Checksum as StoredChecksum;
use crate::s3::conditions::{to_etag, to_timestamp};
use crate::s3::store::Object as StoredObject;
use crate::s3::store::listing::{Entry, ListQuery, Page, list};

impl Api {
    pub(super) async fn do_list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<ListObjectsOutput> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let size = page_size(input.max_keys)?;
        let query = ListQuery {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: input.marker.as_deref().unwrap_or_default(),
            size: size as usize,
        };
        let page = self.page(&input.bucket, &query)?;
        // Without a delimiter S3 sends no marker: it would be the last key.
        let delimited = input.delimiter.is_some();
        let next = page.entries.last().filter(|_| page.truncated && delimited);
        let next_marker = next.map(|entry| encoding.write(entry.name()));
        let truncated = page.truncated;
        let (contents, common_prefixes) = to_dto(page, encoding, true);
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.write(input.prefix.unwrap_or_default())),
            marker: Some(encoding.write(input.marker.unwrap_or_default())),
            max_keys: Some(size),
            is_truncated: Some(truncated),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            delimiter: encoding.optional(input.delimiter),
            next_marker,
            encoding_type: input.encoding_type,
            request_charged: None,
        })
    }

    pub(super) async fn do_list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<ListObjectsV2Output> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let size = page_size(input.max_keys)?;
        let after = match &input.continuation_token {
            Some(token) => decode_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let query = ListQuery {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: &after,
            size: size as usize,
        };
        let page = self.page(&input.bucket, &query)?;
        let next = page.entries.last().filter(|_| page.truncated);
        let next_token = next.map(|entry| encode_token(entry.name()));
        let (key_count, truncated) = (page.entries.len() as i32, page.truncated);
        let with_owner = input.fetch_owner == Some(true);
        let (contents, common_prefixes) = to_dto(page, encoding, with_owner);
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.write(input.prefix.unwrap_or_default())),
            max_keys: Some(size),
            key_count: Some(key_count),
            continuation_token: input.continuation_token,
            is_truncated: Some(truncated),
            next_continuation_token: next_token,
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            delimiter: encoding.optional(input.delimiter),
            encoding_type: input.encoding_type,
            start_after: encoding.optional(input.start_after),
            request_charged: None,
        })
    }

    /// Lists every object as its only version.
    pub(super) async fn do_list_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<ListObjectVersionsOutput> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let size = page_size(input.max_keys)?;
        let query = ListQuery {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: input.key_marker.as_deref().unwrap_or_default(),
            size: size as usize,
        };
        let page = self.page(&input.bucket, &query)?;
        let next = page.entries.last().filter(|_| page.truncated);
        let next_key_marker = next.map(|entry| encoding.write(entry.name()));
        let truncated = page.truncated;
        let (contents, common_prefixes) = to_dto(page, encoding, true);
        let versions = contents.into_iter().map(|object| ObjectVersion {
            checksum_algorithm: object.checksum_algorithm,
            checksum_type: object.checksum_type,
            e_tag: object.e_tag,
            is_latest: Some(true),
            key: object.key,
            last_modified: object.last_modified,
            owner: object.owner,
            restore_status: None,
            size: object.size,
            storage_class: object
                .storage_class
                .map(|class| class.as_str().to_owned().into()),
            version_id: Some("null".to_owned()),
        });
        Ok(ListObjectVersionsOutput {
            common_prefixes: Some(common_prefixes),
            delimiter: encoding.optional(input.delimiter),
            encoding_type: input.encoding_type,
            is_truncated: Some(truncated),
            key_marker: Some(encoding.write(input.key_marker.unwrap_or_default())),
            max_keys: Some(size),
            name: Some(input.bucket),
            next_version_id_marker: next_key_marker.as_ref().map(|_| "null".to_owned()),
            next_key_marker,
            prefix: Some(encoding.write(input.prefix.unwrap_or_default())),
            version_id_marker: input.version_id_marker,
            versions: Some(versions.collect()),
            ..Default::default()
        })
    }

    fn page(&self, bucket: &str, query: &ListQuery<'_>) -> S3Result<Page<Arc<StoredObject>>> {
        self.store
            .with_bucket(bucket, |bucket| Ok(list(&bucket.objects, query)))
    }
}

/// Returns the objects and the common prefixes of a page.
fn to_dto(
    page: Page<Arc<StoredObject>>,
    encoding: KeyEncoding,
    with_owner: bool,
) -> (Vec<Object>, Vec<CommonPrefix>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for entry in page.entries {
        match entry {
            Entry::Object(key, object) => objects.push(Object {
                checksum_algorithm: object
                    .checksum
                    .as_ref()
                    .map(|checksum| vec![checksum.algorithm.to_dto()]),
                checksum_type: object.checksum.as_ref().map(StoredChecksum::type_dto),
                e_tag: Some(to_etag(&object)),
                key: Some(encoding.write(key)),
                last_modified: Some(to_timestamp(object.modified)),
                owner: with_owner.then(owner),
                restore_status: None,
                size: Some(object.size as i64),
                storage_class: Some(object.description.storage_class().to_owned().into()),
            }),
            Entry::CommonPrefix(prefix) => prefixes.push(CommonPrefix {
                prefix: Some(encoding.write(prefix)),
            }),
        }
    }
    (objects, prefixes)
}
