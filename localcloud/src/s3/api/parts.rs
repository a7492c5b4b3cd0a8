//! The parts of multipart uploads.

use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::input::check_encryption;
use super::paging::{page_size, truncate};
use super::{Api, initiator, owner};
use crate::s3::checksums::{Algorithm, checksum_type, declared_checksums, set_checksum};
use crate::s3::conditions::{ReadConditions, to_timestamp};
use crate::s3::failure::{failure_with, internal, invalid_argument};
use crate::s3::receive::{DeclaredBody, ReceivedBody, Trailers};
use crate::s3::store::{Part as StoredPart, Upload};

impl Api {
    pub(super) async fn do_upload_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<UploadPartOutput> {
        let input = &mut request.input;
        check_encryption(input.sse_customer_key.is_some(), None)?;
        let number = part_number(input.part_number)?;
        let upload = self
            .store
            .upload(&input.bucket, &input.key, &input.upload_id)?
            .upload;
        let declared = DeclaredBody {
            content_length: input.content_length,
            content_md5: input.content_md5.take(),
            checksums: declared_checksums!(input),
            trailer: DeclaredBody::announced_trailer(&request.headers)?,
            default_algorithm: upload.algorithm,
        };
        let trailers = Trailers::of(request.trailing_headers.take(), &mut request.extensions);
        let received = declared
            .receive(&self.store, input.body.take(), trailers)
            .await?;
        let part = self.store_part(&input.bucket, &upload, number, received)?;
        let mut output = UploadPartOutput {
            e_tag: Some(ETag::Strong(part.etag)),
            ..Default::default()
        };
        set_checksum!(output, part.checksum.as_ref());
        Ok(output)
    }

    pub(super) async fn do_upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<UploadPartCopyOutput> {
        let input = request.input;
        check_encryption(
            input.sse_customer_key.is_some() || input.copy_source_sse_customer_key.is_some(),
            None,
        )?;
        let number = part_number(input.part_number)?;
        let upload = self
            .store
            .upload(&input.bucket, &input.key, &input.upload_id)?
            .upload;
        let conditions = ReadConditions {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        };
        let (source, file) = self.open_source(&input.copy_source, &conditions)?;
        let bytes = match &input.copy_source_range {
            None => 0..source.size,
            Some(text) => match Range::parse(text) {
                Ok(Range::Int {
                    first,
                    last: Some(last),
                }) if last < source.size => first..last + 1,
                Ok(Range::Int { last: Some(_), .. }) => {
                    return Err(invalid_argument(format!(
                        "Range specified is not valid for source object of size: {}",
                        source.size
                    )));
                }
                _ => {
                    return Err(invalid_argument(
                        "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
                    ));
                }
            },
        };
        let copied = self.copy_bytes(file, bytes, upload.algorithm).await?;
        let part = self.store_part(&input.bucket, &upload, number, copied)?;
        let mut result = CopyPartResult {
            e_tag: Some(ETag::Strong(part.etag)),
            last_modified: Some(to_timestamp(part.modified)),
            ..Default::default()
        };
        set_checksum!(result, part.checksum.as_ref());
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..Default::default()
        })
    }

    pub(super) async fn do_list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<ListPartsOutput> {
        let input = request.input;
        let found = self
            .store
            .upload(&input.bucket, &input.key, &input.upload_id)?;
        let size = page_size(input.max_parts)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let after_marker = found
            .parts
            .values()
            .filter(|part| i32::from(part.number) > marker);
        let mut parts: Vec<_> = after_marker
            .map(|part| {
                let mut listed = Part {
                    e_tag: Some(ETag::Strong(part.etag.clone())),
                    last_modified: Some(to_timestamp(part.modified)),
                    part_number: Some(part.number.into()),
                    size: Some(part.size as i64),
                    ..Default::default()
                };
                set_checksum!(listed, part.checksum.as_ref());
                listed
            })
            .collect();
        let truncated = truncate(&mut parts, size);
        let upload = found.upload;
        Ok(ListPartsOutput {
            bucket: Some(input.bucket),
            checksum_algorithm: upload.algorithm.map(Algorithm::to_dto),
            checksum_type: upload.algorithm.map(|_| checksum_type(upload.composite)),
            initiator: Some(initiator()),
            is_truncated: Some(truncated),
            key: Some(input.key),
            max_parts: Some(size),
            next_part_number_marker: parts.last().and_then(|part| part.part_number),
            owner: Some(owner()),
            part_number_marker: Some(marker),
            parts: Some(parts),
            storage_class: Some(upload.description.storage_class().to_owned().into()),
            upload_id: Some(input.upload_id),
            ..Default::default()
        })
    }

    fn store_part(
        &self,
        bucket: &str,
        upload: &Upload,
        number: u16,
        received: ReceivedBody,
    ) -> S3Result<StoredPart> {
        let sent = received.checksum.as_ref().map(|sent| sent.algorithm);
        if let (Some(expected), Some(sent)) = (upload.algorithm, sent)
            && expected != sent
        {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                format!(
                    "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                    expected.name().to_ascii_lowercase(),
                    sent.name().to_ascii_lowercase()
                ),
            ));
        }
        let part = StoredPart {
            number,
            size: received.size,
            etag: received.etag,
            modified: self.store.now(),
            checksum: received.checksum,
        };
        let file = received.staged.seal(&part).map_err(internal)?;
        self.store
            .put_part(bucket, &upload.key, &upload.id, part.clone(), file)?;
        Ok(part)
    }
}

/// Parts have numbers from 1 to 10000.
fn part_number(number: i32) -> S3Result<u16> {
    u16::try_from(number)
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| {
            invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
        })
}
