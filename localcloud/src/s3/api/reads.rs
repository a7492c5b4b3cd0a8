//! Reading objects, ranges and parts of them, and their metadata.

use std::fs::File;
use std::io;
use std::ops::Range as Bytes;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use futures::stream;
use http::Extensions;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::Api;
use super::input::{check_encryption, check_version};
use super::paging::truncate;
use crate::s3::checksums::{Checksum as StoredChecksum, set_checksum};
use crate::s3::conditions::{ReadConditions, to_etag, to_timestamp};
use crate::s3::context::RequestContext;
use crate::s3::failure::{custom, failure, failure_with, internal};
use crate::s3::staging::{CHUNK_BYTES, run_blocking};
use crate::s3::store::Object;

/// The bytes of an object that a request selects.
struct Selection {
    bytes: Bytes<u64>,
    /// Whether the response has status 206.
    partial: bool,
    /// How many parts the object has, if the request selects one.
    parts: Option<usize>,
}

/// Checks the conditions of GetObject or HeadObject, and fills the fields that their responses share. Returns the bytes that
/// the request selects, too.
macro_rules! read_output {
    ($output:ident, $input:expr, $object:expr) => {{
        let object: &Object = $object;
        let conditions = ReadConditions {
            if_match: $input.if_match,
            if_none_match: $input.if_none_match,
            if_modified_since: $input.if_modified_since,
            if_unmodified_since: $input.if_unmodified_since,
        };
        conditions.check(object)?;
        let selection = select(object, $input.range, $input.part_number)?;
        let description = &object.description;
        let mut output = $output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some((selection.bytes.end - selection.bytes.start) as i64),
            content_range: selection.content_range(object),
            parts_count: selection.parts.map(|count| count as i32),
            cache_control: description.cache_control.clone(),
            content_disposition: description.content_disposition.clone(),
            content_encoding: description.content_encoding.clone(),
            content_language: description.content_language.clone(),
            content_type: Some(content_type(object)),
            e_tag: Some(to_etag(object)),
            last_modified: Some(to_timestamp(object.modified)),
            metadata: metadata(object),
            storage_class: description.storage_class.clone().map(Into::into),
            website_redirect_location: description.website_redirect_location.clone(),
            ..Default::default()
        };
        if $input.checksum_mode.is_some() && !selection.partial {
            set_checksum!(output, object.checksum.as_ref());
            output.checksum_type = object.checksum.as_ref().map(StoredChecksum::type_dto);
        }
        (output, selection.bytes)
    }};
}

impl Api {
    pub(super) async fn do_get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<GetObjectOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        check_encryption(input.sse_customer_key.is_some(), None)?;
        let (object, file) = self.store.open(&input.bucket, &input.key)?;
        let (mut output, bytes) = read_output!(GetObjectOutput, input, &object);
        output.body = Some(body(file, bytes)?);
        if input.response_expires.is_none() {
            note_expires(&request.extensions, &object);
        }
        output.tag_count = Some(object.tags.len() as i32).filter(|count| *count > 0);
        Ok(output)
    }

    pub(super) async fn do_head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<HeadObjectOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        check_encryption(input.sse_customer_key.is_some(), None)?;
        let object = self.store.object(&input.bucket, &input.key)?;
        let (mut output, _) = read_output!(HeadObjectOutput, input, &object);
        // s3s applies these overrides to GetObject only.
        output.cache_control = input.response_cache_control.or(output.cache_control);
        output.content_disposition = input
            .response_content_disposition
            .or(output.content_disposition);
        output.content_encoding = input.response_content_encoding.or(output.content_encoding);
        output.content_language = input.response_content_language.or(output.content_language);
        output.content_type = input.response_content_type.or(output.content_type);
        output.expires = input.response_expires;
        if output.expires.is_none() {
            note_expires(&request.extensions, &object);
        }
        Ok(output)
    }

    pub(super) async fn do_get_attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<GetObjectAttributesOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        let object = self.store.object(&input.bucket, &input.key)?;
        // Clients send one header per attribute, or one header with a list.
        let attributes = input.object_attributes.iter();
        let attributes: Vec<_> = attributes
            .flat_map(|list| list.as_str().split(','))
            .map(str::trim)
            .collect();
        let requested = |name: &str| attributes.contains(&name);
        let mut output = GetObjectAttributesOutput {
            last_modified: Some(to_timestamp(object.modified)),
            ..Default::default()
        };
        if requested(ObjectAttributes::ETAG) {
            output.e_tag = Some(to_etag(&object));
        }
        if requested(ObjectAttributes::OBJECT_SIZE) {
            output.object_size = Some(object.size as i64);
        }
        if requested(ObjectAttributes::STORAGE_CLASS) {
            output.storage_class = Some(object.description.storage_class().to_owned().into());
        }
        if requested(ObjectAttributes::CHECKSUM) {
            let mut checksum = Checksum::default();
            set_checksum!(checksum, object.checksum.as_ref());
            checksum.checksum_type = object.checksum.as_ref().map(StoredChecksum::type_dto);
            output.checksum = Some(checksum);
        }
        if requested(ObjectAttributes::OBJECT_PARTS) && !object.parts.is_empty() {
            output.object_parts =
                Some(parts_of(&object, input.part_number_marker, input.max_parts));
        }
        Ok(output)
    }
}

impl Selection {
    fn content_range(&self, object: &Object) -> Option<String> {
        let Bytes { start, end } = self.bytes;
        self.partial
            .then(|| format!("bytes {start}-{}/{}", end.saturating_sub(1), object.size))
    }
}

fn select(object: &Object, range: Option<Range>, part: Option<i32>) -> S3Result<Selection> {
    match (range, part) {
        (Some(_), Some(_)) => Err(failure_with(
            S3ErrorCode::InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter",
        )),
        (Some(_), None) if object.size == 0 => Err(failure(S3ErrorCode::InvalidRange)),
        (Some(range), None) => Ok(Selection {
            bytes: range
                .check(object.size)
                .map_err(|_| failure(S3ErrorCode::InvalidRange))?,
            partial: true,
            parts: None,
        }),
        (None, Some(number)) => select_part(object, number),
        (None, None) => Ok(Selection {
            bytes: 0..object.size,
            partial: false,
            parts: None,
        }),
    }
}

fn select_part(object: &Object, number: i32) -> S3Result<Selection> {
    if object.parts.is_empty() && number == 1 {
        return Ok(Selection {
            bytes: 0..object.size,
            partial: object.size > 0,
            parts: None,
        });
    }
    let mut start = 0;
    for part in &object.parts {
        if i32::from(part.number) == number {
            return Ok(Selection {
                bytes: start..start + part.size,
                partial: true,
                parts: Some(object.parts.len()),
            });
        }
        start += part.size;
    }
    Err(custom(
        http::StatusCode::RANGE_NOT_SATISFIABLE,
        "InvalidPartNumber",
        "The requested partnumber is not satisfiable",
    ))
}

/// Returns bytes of a file. Many bytes are read as the client takes them.
fn body(file: File, bytes: Bytes<u64>) -> S3Result<StreamingBlob> {
    let length = (bytes.end - bytes.start) as usize;
    if length <= CHUNK_BYTES {
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, bytes.start)
            .map_err(internal)?;
        return Ok(StreamingBlob::from(s3s::Body::from(buffer)));
    }
    let chunks = stream::try_unfold((Arc::new(file), bytes), |(file, bytes)| {
        run_blocking(move || read_chunk(file, bytes))
    });
    Ok(StreamingBlob::wrap(chunks))
}

/// A chunk, and where to read on; `None` at the end.
type Chunk = Option<(bytes::Bytes, (Arc<File>, Bytes<u64>))>;

fn read_chunk(file: Arc<File>, bytes: Bytes<u64>) -> io::Result<Chunk> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let length = (bytes.end - bytes.start).min(CHUNK_BYTES as u64);
    let mut buffer = vec![0; length as usize];
    file.read_exact_at(&mut buffer, bytes.start)?;
    Ok(Some((
        buffer.into(),
        (file, bytes.start + length..bytes.end),
    )))
}

fn parts_of(object: &Object, marker: Option<i32>, size: Option<i32>) -> GetObjectAttributesParts {
    let marker = marker.unwrap_or(0);
    let size = size.unwrap_or(1000).clamp(0, 1000);
    let mut parts: Vec<_> = object
        .parts
        .iter()
        .filter(|part| i32::from(part.number) > marker)
        .map(|part| {
            let mut listed = s3s::dto::ObjectPart {
                part_number: Some(part.number.into()),
                size: Some(part.size as i64),
                ..Default::default()
            };
            set_checksum!(listed, part.checksum.as_ref());
            listed
        })
        .collect();
    let truncated = truncate(&mut parts, size);
    GetObjectAttributesParts {
        is_truncated: Some(truncated),
        max_parts: Some(size),
        next_part_number_marker: parts.last().and_then(|part| part.part_number),
        part_number_marker: Some(marker),
        parts: Some(parts),
        total_parts_count: Some(object.parts.len() as i32),
    }
}

fn content_type(object: &Object) -> String {
    let own = object.description.content_type.clone();
    own.unwrap_or_else(|| "binary/octet-stream".to_owned())
}

/// Notes the text of `Expires` for the reply, since `s3s` would write a date.
fn note_expires(extensions: &Extensions, object: &Object) {
    let context = extensions.get::<RequestContext>();
    if let (Some(context), Some(expires)) = (context, &object.description.expires) {
        let _ = context.stored_expires.set(expires.clone());
    }
}

fn metadata(object: &Object) -> Option<Metadata> {
    let metadata = &object.description.metadata;
    let pairs = metadata
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    (!metadata.is_empty()).then(|| pairs.collect())
}
