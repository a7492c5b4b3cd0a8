//! Lists of objects.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result};

use super::{Api, owner};
use crate::s3::conditions::{shown_etag, shown_time};
use crate::s3::encoding::url_encode;
use crate::s3::failure::invalid_argument;
use crate::s3::store::Object as StoredObject;
use crate::s3::store::listing::{Entry, Page, Query, list};

const MOST_KEYS_PER_PAGE: i32 = 1000;

/// How keys are written in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyEncoding {
    Plain,
    Url,
}

impl KeyEncoding {
    pub(super) fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(_) => Err(invalid_argument(
                "Invalid Encoding Method specified in Request",
            )),
        }
    }

    pub(super) fn write(self, text: impl AsRef<str>) -> String {
        match self {
            Self::Plain => text.as_ref().to_owned(),
            Self::Url => url_encode(text.as_ref()),
        }
    }

    pub(super) fn optional(self, text: Option<String>) -> Option<String> {
        text.map(|text| self.write(text))
    }
}

impl Api {
    pub(super) async fn do_list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<ListObjectsOutput> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let most = page_size(input.max_keys)?;
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: input.marker.as_deref().unwrap_or_default(),
            most: most as usize,
        };
        let page = self.page(&input.bucket, &query)?;
        // Without a delimiter the next marker is the last key, which the client has.
        let delimited = input.delimiter.is_some();
        let next = page.entries.last().filter(|_| page.truncated && delimited);
        let next_marker = next.map(|entry| encoding.write(entry.name()));
        let truncated = page.truncated;
        let (contents, common_prefixes) = shown(page, encoding, true);
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.write(input.prefix.unwrap_or_default())),
            marker: Some(encoding.write(input.marker.unwrap_or_default())),
            max_keys: Some(most),
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
        let most = page_size(input.max_keys)?;
        let after = match &input.continuation_token {
            Some(token) => read_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: &after,
            most: most as usize,
        };
        let page = self.page(&input.bucket, &query)?;
        let next = page.entries.last().filter(|_| page.truncated);
        let next_token = next.map(|entry| URL_SAFE.encode(entry.name()));
        let (key_count, truncated) = (page.entries.len() as i32, page.truncated);
        let with_owner = input.fetch_owner == Some(true);
        let (contents, common_prefixes) = shown(page, encoding, with_owner);
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.write(input.prefix.unwrap_or_default())),
            max_keys: Some(most),
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

    /// Every object is its own only version.
    pub(super) async fn do_list_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<ListObjectVersionsOutput> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let most = page_size(input.max_keys)?;
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: input.key_marker.as_deref().unwrap_or_default(),
            most: most as usize,
        };
        let page = self.page(&input.bucket, &query)?;
        let next = page.entries.last().filter(|_| page.truncated);
        let next_key_marker = next.map(|entry| encoding.write(entry.name()));
        let truncated = page.truncated;
        let (contents, common_prefixes) = shown(page, encoding, true);
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
            max_keys: Some(most),
            name: Some(input.bucket),
            next_version_id_marker: next_key_marker.as_ref().map(|_| "null".to_owned()),
            next_key_marker,
            prefix: Some(encoding.write(input.prefix.unwrap_or_default())),
            version_id_marker: input.version_id_marker,
            versions: Some(versions.collect()),
            ..Default::default()
        })
    }

    fn page(
        &self,
        bucket: &str,
        query: &Query<'_>,
    ) -> S3Result<Page<std::sync::Arc<StoredObject>>> {
        self.store
            .with_bucket(bucket, |bucket| Ok(list(&bucket.objects, query)))
    }
}

/// How many entries a page has; S3 never sends more than 1000.
pub(super) fn page_size(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(MOST_KEYS_PER_PAGE) {
        most if most >= 0 => Ok(most.min(MOST_KEYS_PER_PAGE)),
        _ => Err(invalid_argument(
            "Argument maxKeys must be an integer between 0 and 2147483647",
        )),
    }
}

fn read_token(token: &str) -> S3Result<String> {
    let incorrect =
        || -> S3Error { invalid_argument("The continuation token provided is incorrect") };
    let bytes = URL_SAFE.decode(token).map_err(|_| incorrect())?;
    match String::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name),
        _ => Err(incorrect()),
    }
}

fn shown(
    page: Page<std::sync::Arc<StoredObject>>,
    encoding: KeyEncoding,
    with_owner: bool,
) -> (Vec<Object>, Vec<CommonPrefix>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for entry in page.entries {
        match entry {
            Entry::Object(key, object) => objects.push(Object {
                checksum_algorithm: object.checksum.as_ref().map(|checksum| {
                    vec![ChecksumAlgorithm::from_static(checksum.algorithm.name())]
                }),
                checksum_type: super::reading::checksum_type(&object),
                e_tag: Some(shown_etag(&object)),
                key: Some(encoding.write(key)),
                last_modified: Some(shown_time(object.modified)),
                owner: with_owner.then(owner),
                restore_status: None,
                size: Some(object.size as i64),
                storage_class: Some(object.storage_class().to_owned().into()),
            }),
            Entry::CommonPrefix(prefix) => prefixes.push(CommonPrefix {
                prefix: Some(encoding.write(prefix)),
            }),
        }
    }
    (objects, prefixes)
}
