//! Multipart uploads: creating, aborting and listing them.

use std::cmp::Ordering;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};
use uuid::Uuid;

use super::input::{check_acl, check_encryption, check_key, description};
use super::paging::{KeyEncoding, page_size};
use super::{Api, initiator, owner};
use crate::s3::checksums::{Algorithm, checksum_type};
use crate::s3::conditions::to_timestamp;
use crate::s3::failure::failure_with;
use crate::s3::store::Upload;
use crate::s3::store::listing::common_prefix;
use crate::s3::tags;

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
            input.server_side_encryption.as_ref(),
        )?;
        let algorithm = match &input.checksum_algorithm {
            None => None,
            Some(name) => Some(Algorithm::of(name).ok_or_else(|| {
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
            description: description!(input, &request.extensions)?,
            tags: tags::from_header(input.tagging.as_deref())?,
            algorithm,
            composite,
        };
        let id = upload.id.clone();
        self.store.begin_upload(&input.bucket, upload)?;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_type: algorithm.map(|_| checksum_type(composite)),
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

    pub(super) async fn do_list_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<ListMultipartUploadsOutput> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let size = page_size(input.max_uploads)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let key_marker = input.key_marker.clone().unwrap_or_default();
        let id_marker = input.upload_id_marker.clone().unwrap_or_default();
        let uploads: Vec<Arc<Upload>> = self.store.with_bucket(&input.bucket, |bucket| {
            let all = bucket.uploads.values().map(|found| &found.upload);
            Ok(all.cloned().collect())
        })?;
        let delimiter = input.delimiter.as_deref();
        let (mut listed, mut prefixes): (Vec<MultipartUpload>, Vec<String>) = Default::default();
        let mut truncated = false;
        let (mut next_key, mut next_id) = (None, None);
        for upload in uploads {
            let passed = match upload.key.as_str().cmp(&key_marker) {
                Ordering::Less => true,
                Ordering::Equal => id_marker.is_empty() || upload.id <= id_marker,
                Ordering::Greater => false,
            };
            if passed || !upload.key.starts_with(&prefix) {
                continue;
            }
            let rolled_up = common_prefix(&upload.key, &prefix, delimiter).map(str::to_owned);
            if rolled_up
                .as_ref()
                .is_some_and(|one| prefixes.last() == Some(one) || *one <= key_marker)
            {
                continue;
            }
            if listed.len() + prefixes.len() == size as usize {
                truncated = true;
                break;
            }
            next_key = Some(rolled_up.clone().unwrap_or_else(|| upload.key.clone()));
            next_id = rolled_up.is_none().then(|| upload.id.clone());
            match rolled_up {
                Some(prefix) => prefixes.push(prefix),
                None => listed.push(to_dto(&upload, encoding)),
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
            is_truncated: Some(truncated && size > 0),
            key_marker: Some(encoding.write(key_marker)),
            max_uploads: Some(size),
            next_key_marker: encoding.optional(next_key.filter(|_| truncated)),
            next_upload_id_marker: next_id.filter(|_| truncated),
            prefix: Some(encoding.write(prefix)),
            upload_id_marker: input.upload_id_marker,
            uploads: Some(listed),
            ..Default::default()
        })
    }
}

/// Returns whether the object's checksum is computed from the parts' checksums.
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

fn to_dto(upload: &Upload, encoding: KeyEncoding) -> MultipartUpload {
    let algorithm = upload.algorithm;
    MultipartUpload {
        checksum_algorithm: algorithm.map(Algorithm::to_dto),
        checksum_type: algorithm.map(|_| checksum_type(upload.composite)),
        initiated: Some(to_timestamp(upload.initiated)),
        initiator: Some(initiator()),
        key: Some(encoding.write(&upload.key)),
        owner: Some(owner()),
        storage_class: Some(upload.description.storage_class().to_owned().into()),
        upload_id: Some(upload.id.clone()),
    }
}
