//! The fields that several requests share: their checks, and an object's description read from them.

use std::collections::BTreeMap;

use http::Extensions;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Result};

use crate::s3::conditions::http_date;
use crate::s3::context::RequestContext;
use crate::s3::failure::{custom, failure, invalid_argument, unsupported};
use crate::s3::form::Form;
use crate::s3::store::Description;

const MAX_METADATA_BYTES: usize = 2048;
const STORAGE_CLASSES: [&str; 6] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
];

/// Reads an object's description from the fields of a request.
macro_rules! description {
    ($input:expr, $extensions:expr) => {
        $crate::s3::api::input::complete_description(
            $crate::s3::store::Description {
                content_type: $input.content_type.take().map(Into::into),
                cache_control: $input.cache_control.take(),
                content_disposition: $input.content_disposition.take(),
                content_encoding: $input
                    .content_encoding
                    .take()
                    .and_then($crate::s3::api::input::stored_encoding),
                content_language: $input.content_language.take(),
                expires: $crate::s3::api::input::expires($extensions, $input.expires.as_ref()),
                website_redirect_location: $input.website_redirect_location.take(),
                ..Default::default()
            },
            $input.storage_class.as_ref().map(StorageClass::as_str),
            $input.metadata.take(),
        )
    };
}
pub(super) use description;

/// Checks that a key has 1 to 1024 bytes.
pub fn check_key(key: &str) -> S3Result<()> {
    match key.len() {
        0 => Err(invalid_argument("A key must not be empty")),
        1..=1024 => Ok(()),
        _ => Err(failure(S3ErrorCode::KeyTooLongError)),
    }
}

/// Checks a version identifier: without versioning there are only `null` versions.
pub fn check_version(version_id: Option<&str>) -> S3Result<()> {
    match version_id {
        None | Some("null") => Ok(()),
        Some(_) => Err(invalid_argument("Invalid version id specified")),
    }
}

/// Accepts the access control lists of a bucket whose owner owns all objects, which is S3's default.
pub fn check_acl(acl: Option<&str>, grants: bool) -> S3Result<()> {
    let harmless = ["private", "bucket-owner-full-control", "bucket-owner-read"];
    if grants || acl.is_some_and(|acl| !harmless.contains(&acl)) {
        return Err(acl_not_supported());
    }
    Ok(())
}

pub fn acl_not_supported() -> s3s::S3Error {
    custom(
        http::StatusCode::BAD_REQUEST,
        "AccessControlListNotSupported",
        "The bucket does not allow ACLs",
    )
}

pub fn check_encryption(
    customer_key: bool,
    server_side: Option<&ServerSideEncryption>,
) -> S3Result<()> {
    if customer_key {
        return Err(unsupported("encryption with the customer's keys"));
    }
    match server_side.map(ServerSideEncryption::as_str) {
        None | Some("AES256") => Ok(()),
        Some("aws:kms" | "aws:kms:dsse") => Err(unsupported("encryption with keys of KMS")),
        Some(_) => Err(failure(S3ErrorCode::InvalidEncryptionAlgorithmError)),
    }
}

/// Checks the storage class and the user metadata, and adds them.
pub fn complete_description(
    mut description: Description,
    storage_class: Option<&str>,
    metadata: Option<Metadata>,
) -> S3Result<Description> {
    match storage_class {
        None | Some("STANDARD") => {}
        Some(class) if STORAGE_CLASSES.contains(&class) => {
            description.storage_class = Some(class.to_owned());
        }
        Some(_) => return Err(failure(S3ErrorCode::InvalidStorageClass)),
    }
    let metadata: BTreeMap<_, _> = metadata.unwrap_or_default().into_iter().collect();
    let sizes = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len());
    if sizes.sum::<usize>() > MAX_METADATA_BYTES {
        return Err(failure(S3ErrorCode::MetadataTooLarge));
    }
    description.metadata = metadata;
    Ok(description)
}

/// Returns the text of `Expires`: of the request's header, or of the date in a form.
pub fn expires(extensions: &Extensions, date: Option<&Timestamp>) -> Option<String> {
    match extensions.get::<Form>() {
        Some(_) => http_date(date?),
        None => extensions.get::<RequestContext>()?.expires.clone(),
    }
}

/// Removes `aws-chunked`, the encoding of the upload alone.
pub fn stored_encoding(encoding: String) -> Option<String> {
    let kept: Vec<_> = encoding
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty() && *one != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}
