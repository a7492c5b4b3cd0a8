//! Completing a multipart upload: its parts become an object.

use std::sync::Arc;

use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};

use super::Api;
use crate::s3::checksums::{
    Algorithm, Checksum as StoredChecksum, Hasher, declared_checksums, set_checksum,
};
use crate::s3::conditions::{check_write, to_etag};
use crate::s3::failure::{bad_digest, failure, failure_with, internal, invalid_argument};
use crate::s3::staging::{StagedFile, run_blocking};
use crate::s3::store::{
    Object, ObjectPart as StoredObjectPart, Part as StoredPart, Upload, UploadState,
};

const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
const MAX_PARTS: usize = 10_000;

impl Api {
    pub(super) async fn do_complete_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let mut input = request.input;
        let found = self
            .store
            .upload(&input.bucket, &input.key, &input.upload_id)?;
        let wanted = input
            .multipart_upload
            .take()
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let parts = chosen_parts(&found, wanted)?;
        let size: u64 = parts.iter().map(|part| part.size).sum();
        if input
            .mpu_object_size
            .is_some_and(|expected| expected as u64 != size)
        {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                "The provided 'x-amz-mp-object-size' header does not match what was computed.",
            ));
        }
        let full = match found.upload.composite {
            true => None,
            false => Some(found.upload.algorithm.unwrap_or(Algorithm::Crc64nvme)),
        };
        let (staged, computed) = self
            .join(&input.bucket, &found.upload, &parts, full)
            .await?;
        let checksum = match (found.upload.composite, found.upload.algorithm) {
            (true, Some(algorithm)) => {
                let values = parts.iter().filter_map(|part| part.checksum.as_ref());
                Some(algorithm.composite(values.map(|checksum| checksum.value.as_str())))
            }
            _ => computed,
        };
        check_declared(&declared_checksums!(input), checksum.as_ref())?;
        let object = Object {
            key: input.key.clone(),
            number: self.store.number(),
            size,
            etag: etag_of_parts(&parts),
            modified: self.store.now(),
            description: found.upload.description.clone(),
            tags: found.upload.tags.clone(),
            checksum,
            parts: parts
                .iter()
                .map(|part| StoredObjectPart {
                    number: part.number,
                    size: part.size,
                    checksum: part.checksum.clone(),
                })
                .collect(),
        };
        let (if_match, if_none_match) = (input.if_match.as_ref(), input.if_none_match.as_ref());
        self.store_object(
            &input.bucket,
            &object,
            staged,
            "ObjectCreated:CompleteMultipartUpload",
            &request.extensions,
            |file| {
                self.store.complete_upload(
                    &input.bucket,
                    &input.upload_id,
                    object.clone(),
                    file,
                    |present| check_write(if_match, if_none_match, present),
                )
            },
        )
        .await?;
        let host = request.headers.get(http::header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let mut output = CompleteMultipartUploadOutput {
            location: Some(format!("http://{host}/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(to_etag(&object)),
            checksum_type: object.checksum.as_ref().map(StoredChecksum::type_dto),
            ..Default::default()
        };
        set_checksum!(output, object.checksum.as_ref());
        Ok(output)
    }

    /// Writes the parts into one file. Only one part's file is open at a time.
    async fn join(
        &self,
        bucket: &str,
        upload: &Upload,
        parts: &[Arc<StoredPart>],
        algorithm: Option<Algorithm>,
    ) -> S3Result<(StagedFile, Option<StoredChecksum>)> {
        let mut staged = StagedFile::default();
        let mut hasher = algorithm.map(Algorithm::hasher);
        for part in parts {
            let file = self.store.open_part(bucket, upload, part)?;
            let (store, size) = (Arc::clone(&self.store), part.size);
            let joined = run_blocking(move || {
                staged.push_file(&store, &file, 0..size, |chunk| {
                    if let Some(hasher) = &mut hasher {
                        hasher.update(chunk);
                    }
                })?;
                Ok((staged, hasher))
            });
            (staged, hasher) = joined.await.map_err(internal)?;
        }
        Ok((staged, hasher.map(Hasher::finish)))
    }
}

/// Finds the parts that the client lists, and checks them.
fn chosen_parts(found: &UploadState, wanted: Vec<CompletedPart>) -> S3Result<Vec<Arc<StoredPart>>> {
    if wanted.is_empty() || wanted.len() > MAX_PARTS {
        return Err(failure(S3ErrorCode::MalformedXML));
    }
    let ascending = wanted
        .windows(2)
        .all(|pair| pair[0].part_number < pair[1].part_number);
    if !ascending {
        return Err(failure(S3ErrorCode::InvalidPartOrder));
    }
    let mut parts = Vec::with_capacity(wanted.len());
    for mut wanted in wanted {
        let number = wanted
            .part_number
            .and_then(|number| u16::try_from(number).ok());
        let part = number.and_then(|number| found.parts.get(&number));
        let part = part.ok_or_else(invalid_part)?;
        let etag = wanted.e_tag.as_ref().map(ETag::value);
        if etag.is_some_and(|etag| etag != part.etag) {
            return Err(invalid_part());
        }
        let declared = declared_checksums!(wanted);
        let matches = |(algorithm, value): &(Algorithm, String)| {
            let own = part.checksum.as_ref();
            own.is_none_or(|own| own.algorithm == *algorithm && own.value == *value)
        };
        if !declared.iter().all(matches) {
            return Err(invalid_part());
        }
        if let Some(algorithm) = found.upload.algorithm
            && found.upload.composite
            && declared.is_empty()
        {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                format!(
                    "The upload was created using a {} checksum. The complete request must include the checksum for each part. It was missing for part {} in the request.",
                    algorithm.name().to_ascii_lowercase(),
                    part.number
                ),
            ));
        }
        parts.push(Arc::clone(part));
    }
    let too_small = parts[..parts.len() - 1]
        .iter()
        .any(|part| part.size < MIN_PART_BYTES);
    if too_small {
        return Err(failure(S3ErrorCode::EntityTooSmall));
    }
    Ok(parts)
}

/// Checks the checksums that the client declares for the whole object.
fn check_declared(
    declared: &[(Algorithm, String)],
    computed: Option<&StoredChecksum>,
) -> S3Result<()> {
    for (algorithm, value) in declared {
        let Some(computed) = computed.filter(|computed| computed.algorithm == *algorithm) else {
            return Err(invalid_argument(
                "The checksum type of the request is not that of the upload.",
            ));
        };
        // Clients may leave out the number of parts of a composite checksum.
        let bare = computed.value.split('-').next().unwrap_or_default();
        if *value != computed.value && value != bare {
            return Err(bad_digest(*algorithm));
        }
    }
    Ok(())
}

/// Returns the MD5 of the parts' MD5s, a dash and the number of parts.
fn etag_of_parts(parts: &[Arc<StoredPart>]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        let digits = part.etag.as_bytes().chunks(2);
        let bytes = digits.filter_map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        md5.update(bytes.collect::<Vec<u8>>());
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}

fn invalid_part() -> S3Error {
    failure(S3ErrorCode::InvalidPart)
}
