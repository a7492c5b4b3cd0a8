//! Uploads in parts: their beginning and their end.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};
use uuid::Uuid;

use super::lists::{KeyEncoding, page_size};
use super::objects::{check_key, description};
use super::parts::invalid_part;
use super::reading::checksum_type;
use super::tags::parse_tags;
use super::{Api, OWNER_ID, caller, check_acl, check_encryption, owner};
use crate::s3::checksums::{
    Algorithm, Checksum as StoredChecksum, declared_checksums, show_checksum,
};
use crate::s3::conditions::{check_write, shown_etag, shown_time};
use crate::s3::events::Event;
use crate::s3::failure::{failure, failure_with, internal, invalid_argument};
use crate::s3::receive::{Pending, on_other_thread};
use crate::s3::store::{
    Object, ObjectPart as StoredObjectPart, Part as StoredPart, Upload, UploadInParts,
};

const LEAST_PART_BYTES: u64 = 5 * 1024 * 1024;
const MOST_PARTS: usize = 10_000;

impl Api {
    pub(super) async fn do_create_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let mut input = request.input;
        check_key(&input.key)?;
        check_acl(input.acl.as_ref().map(ObjectCannedACL::as_str), false)?;
        check_encryption(
            input.sse_customer_key.is_some(),
            input
                .server_side_encryption
                .as_ref()
                .map(ServerSideEncryption::as_str),
        )?;
        let algorithm = match &input.checksum_algorithm {
            None => None,
            Some(name) => Some(Algorithm::named(name.as_str()).ok_or_else(|| {
                failure_with(
                    S3ErrorCode::InvalidRequest,
                    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
                )
            })?),
        };
        let composite = is_composite(algorithm, input.checksum_type.as_ref())?;
        let upload = Upload {
            id: URL_SAFE_NO_PAD.encode(
                [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()]
                    .map(Uuid::into_bytes)
                    .concat(),
            ),
            key: input.key.clone(),
            initiated: self.store.now(),
            description: description!(input)?,
            tags: parse_tags(input.tagging.as_deref())?,
            algorithm,
            composite,
        };
        let id = upload.id.clone();
        self.store.begin_upload(&input.bucket, upload)?;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_type: algorithm.map(|_| shown_type(composite)),
            checksum_algorithm: input.checksum_algorithm,
            server_side_encryption: input.server_side_encryption,
            ..Default::default()
        })
    }

    pub(super) async fn do_abort_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let input = request.input;
        self.store
            .abort_upload(&input.bucket, &input.key, &input.upload_id)?;
        Ok(AbortMultipartUploadOutput::default())
    }

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
        let (pending, computed) = self
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
        let file = pending.seal_here(&self.store, &object).map_err(internal)?;
        let sequencer = self.store.complete_upload(
            &input.bucket,
            &input.upload_id,
            object.clone(),
            file,
            |present| {
                check_write(
                    input.if_match.as_ref(),
                    input.if_none_match.as_ref(),
                    present,
                )
            },
        )?;
        let event = Event {
            name: "ObjectCreated:CompleteMultipartUpload",
            bucket: &input.bucket,
            key: &input.key,
            object: Some(&object),
            sequencer,
        };
        self.announce(&event, &caller(&request.extensions)).await;
        let host = request.headers.get(http::header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let mut output = CompleteMultipartUploadOutput {
            location: Some(format!("http://{host}/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(shown_etag(&object)),
            checksum_type: checksum_type(&object),
            ..Default::default()
        };
        show_checksum!(output, object.checksum.as_ref());
        Ok(output)
    }

    pub(super) async fn do_list_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<ListMultipartUploadsOutput> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let most = page_size(input.max_uploads)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let key_marker = input.key_marker.clone().unwrap_or_default();
        let id_marker = input.upload_id_marker.clone().unwrap_or_default();
        let uploads: Vec<Arc<Upload>> = self.store.with_bucket(&input.bucket, |bucket| {
            let all = bucket.uploads.values().map(|found| &found.upload);
            Ok(all.cloned().collect())
        })?;
        let delimiter = input.delimiter.as_deref().filter(|text| !text.is_empty());
        let (mut shown, mut prefixes): (Vec<MultipartUpload>, Vec<String>) = Default::default();
        let mut truncated = false;
        let (mut next_key, mut next_id) = (None, None);
        for upload in uploads {
            let passed = match upload.key.as_str().cmp(&key_marker) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => id_marker.is_empty() || upload.id <= id_marker,
                std::cmp::Ordering::Greater => false,
            };
            let Some(rest) = upload.key.strip_prefix(&prefix).filter(|_| !passed) else {
                continue;
            };
            let rolled_up = delimiter.and_then(|delimiter| {
                let end = prefix.len() + rest.find(delimiter)? + delimiter.len();
                Some(upload.key[..end].to_owned())
            });
            let listed = |rolled_up: &String| prefixes.last() == Some(rolled_up);
            if rolled_up
                .as_ref()
                .is_some_and(|one| listed(one) || *one <= key_marker)
            {
                continue;
            }
            if shown.len() + prefixes.len() == most as usize {
                truncated = true;
                break;
            }
            next_key = Some(rolled_up.clone().unwrap_or_else(|| upload.key.clone()));
            next_id = rolled_up.is_none().then(|| upload.id.clone());
            match rolled_up {
                Some(prefix) => prefixes.push(prefix),
                None => shown.push(show_upload(&upload, encoding)),
            }
        }
        let prefixes = prefixes.into_iter().map(|prefix| CommonPrefix {
            prefix: Some(encoding.write(prefix)),
        });
        Ok(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            common_prefixes: Some(prefixes.collect()),
            delimiter: encoding.optional(input.delimiter),
            encoding_type: input.encoding_type,
            is_truncated: Some(truncated && most > 0),
            key_marker: Some(encoding.write(key_marker)),
            max_uploads: Some(most),
            next_key_marker: encoding.optional(next_key.filter(|_| truncated)),
            next_upload_id_marker: next_id.filter(|_| truncated),
            prefix: Some(encoding.write(prefix)),
            upload_id_marker: input.upload_id_marker,
            uploads: Some(shown),
            ..Default::default()
        })
    }

    /// Writes the parts one after another; only one file is open at a time.
    async fn join(
        &self,
        bucket: &str,
        upload: &Upload,
        parts: &[Arc<StoredPart>],
        algorithm: Option<Algorithm>,
    ) -> S3Result<(Pending, Option<StoredChecksum>)> {
        let mut pending = Pending::default();
        let mut hasher = algorithm.map(Algorithm::hasher);
        for part in parts {
            let file = self.store.open_part(bucket, upload, part)?;
            let (store, size) = (Arc::clone(&self.store), part.size);
            let joined = on_other_thread(move || {
                super::copies::read_through(&file, 0..size, |bytes| {
                    if let Some(hasher) = &mut hasher {
                        hasher.update(bytes);
                    }
                    pending.push_here(&store, bytes)
                })?;
                Ok((pending, hasher))
            });
            (pending, hasher) = joined.await.map_err(internal)?;
        }
        let checksum = algorithm
            .zip(hasher)
            .map(|(algorithm, hasher)| StoredChecksum {
                algorithm,
                value: hasher.finish(),
                composite: false,
            });
        Ok((pending, checksum))
    }
}

/// Which parts become the object, in their order.
fn chosen_parts(
    found: &UploadInParts,
    wanted: Vec<CompletedPart>,
) -> S3Result<Vec<Arc<StoredPart>>> {
    if wanted.is_empty() || wanted.len() > MOST_PARTS {
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
        let fits = |(algorithm, value): &(Algorithm, String)| {
            let own = part.checksum.as_ref();
            own.is_none_or(|own| own.algorithm == *algorithm && own.value == *value)
        };
        if !declared.iter().all(fits) {
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
        .any(|part| part.size < LEAST_PART_BYTES);
    if too_small {
        return Err(failure(S3ErrorCode::EntityTooSmall));
    }
    Ok(parts)
}

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
        // A composite checksum may come without the number of parts.
        let bare = computed.value.split('-').next().unwrap_or_default();
        if *value != computed.value && value != bare {
            return Err(failure_with(
                S3ErrorCode::BadDigest,
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                ),
            ));
        }
    }
    Ok(())
}

/// The MD5 of the parts' MD5s, and their number.
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

fn is_composite(algorithm: Option<Algorithm>, wanted: Option<&ChecksumType>) -> S3Result<bool> {
    let Some(algorithm) = algorithm else {
        return Ok(false);
    };
    let sha = matches!(algorithm, Algorithm::Sha1 | Algorithm::Sha256);
    let wanted = wanted.map(ChecksumType::as_str);
    match (wanted, algorithm) {
        (None, Algorithm::Crc64nvme) => Ok(false),
        (None, _) => Ok(true),
        (Some("FULL_OBJECT"), _) if !sha => Ok(false),
        (Some("COMPOSITE"), algorithm) if algorithm != Algorithm::Crc64nvme => Ok(true),
        (Some(other), _) => Err(failure_with(
            S3ErrorCode::InvalidRequest,
            format!(
                "The {other} checksum type cannot be used with the {} checksum algorithm.",
                algorithm.name().to_ascii_lowercase()
            ),
        )),
    }
}

pub(super) fn shown_type(composite: bool) -> ChecksumType {
    ChecksumType::from_static(if composite {
        ChecksumType::COMPOSITE
    } else {
        ChecksumType::FULL_OBJECT
    })
}

pub(super) fn initiator() -> Initiator {
    Initiator {
        display_name: None,
        id: Some(OWNER_ID.to_owned()),
    }
}

fn show_upload(upload: &Upload, encoding: KeyEncoding) -> MultipartUpload {
    let algorithm = upload.algorithm;
    MultipartUpload {
        checksum_algorithm: algorithm.map(|one| ChecksumAlgorithm::from_static(one.name())),
        checksum_type: algorithm.map(|_| shown_type(upload.composite)),
        initiated: Some(shown_time(upload.initiated)),
        initiator: Some(initiator()),
        key: Some(encoding.write(&upload.key)),
        owner: Some(owner()),
        storage_class: Some(
            upload
                .description
                .storage_class
                .clone()
                .unwrap_or_else(|| "STANDARD".to_owned())
                .into(),
        ),
        upload_id: Some(upload.id.clone()),
    }
}
