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

/// What a list has besides the fields that `list_output` fills.
struct Listed {
    encoding: KeyEncoding,
    objects: Vec<Object>,
    /// The last name of the page, if more follow.
    next: Option<String>,
}

/// Lists the page after a name, and fills the fields that the outputs of the three kinds of lists share.
macro_rules! list_output {
    ($output:ident, $api:expr, $input:expr, $after:expr, $with_owner:expr) => {{
        let encoding = KeyEncoding::of($input.encoding_type.as_ref())?;
        let size = page_size($input.max_keys)?;
        let query = ListQuery {
            prefix: $input.prefix.as_deref().unwrap_or_default(),
            delimiter: $input.delimiter.as_deref(),
            after: $after,
            size: size as usize,
        };
        let page = $api.page(&$input.bucket, &query)?;
        let truncated = page.truncated;
        let next = page.entries.last().filter(|_| truncated);
        let next = next.map(|entry| entry.name().to_owned());
        let (objects, common_prefixes) = to_dto(page, encoding, $with_owner);
        let output = $output {
            name: Some($input.bucket),
            prefix: Some(encoding.write($input.prefix.unwrap_or_default())),
            max_keys: Some(size),
            is_truncated: Some(truncated),
            common_prefixes: Some(common_prefixes),
            delimiter: encoding.optional($input.delimiter),
            encoding_type: $input.encoding_type,
            ..Default::default()
        };
        let listed = Listed {
            encoding,
            objects,
            next,
        };
        (output, listed)
    }};
}

impl Api {
    pub(super) async fn do_list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<ListObjectsOutput> {
        let input = request.input;
        let after = input.marker.as_deref().unwrap_or_default();
        let (output, listed) = list_output!(ListObjectsOutput, self, input, after, true);
        // Without a delimiter S3 sends no marker: it would be the last key.
        let next = listed.next.filter(|_| output.delimiter.is_some());
        Ok(ListObjectsOutput {
            marker: Some(listed.encoding.write(input.marker.unwrap_or_default())),
            contents: Some(listed.objects),
            next_marker: listed.encoding.optional(next),
            ..output
        })
    }

    pub(super) async fn do_list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<ListObjectsV2Output> {
        let input = request.input;
        let after = match &input.continuation_token {
            Some(token) => decode_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let with_owner = input.fetch_owner == Some(true);
        let (output, listed) = list_output!(ListObjectsV2Output, self, input, &after, with_owner);
        let prefixes = output.common_prefixes.as_ref().map_or(0, Vec::len);
        Ok(ListObjectsV2Output {
            key_count: Some((listed.objects.len() + prefixes) as i32),
            continuation_token: input.continuation_token,
            next_continuation_token: listed.next.map(|name| encode_token(&name)),
            contents: Some(listed.objects),
            start_after: listed.encoding.optional(input.start_after),
            ..output
        })
    }

    /// Lists every object as its only version.
    pub(super) async fn do_list_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<ListObjectVersionsOutput> {
        let input = request.input;
        let after = input.key_marker.as_deref().unwrap_or_default();
        let (output, listed) = list_output!(ListObjectVersionsOutput, self, input, after, true);
        let versions = listed.objects.into_iter().map(|object| ObjectVersion {
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
            key_marker: Some(listed.encoding.write(input.key_marker.unwrap_or_default())),
            next_version_id_marker: listed.next.as_ref().map(|_| "null".to_owned()),
            next_key_marker: listed.encoding.optional(listed.next),
            version_id_marker: input.version_id_marker,
            versions: Some(versions.collect()),
            ..output
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
