//! S3's errors, with AWS's messages.

use std::borrow::Cow;

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode};

use super::checksums::Algorithm;

/// Returns an error with S3's message for its code.
pub fn failure(code: S3ErrorCode) -> S3Error {
    match message_of(code.as_str()) {
        Some(message) => S3Error::with_message(code, message),
        None => S3Error::new(code),
    }
}

/// Returns an error with a message of its own.
pub fn failure_with(code: S3ErrorCode, message: impl Into<Cow<'static, str>>) -> S3Error {
    let known = code.status_code().is_some();
    let mut error = S3Error::with_message(code, message);
    if !known {
        error.set_status_code(StatusCode::BAD_REQUEST);
    }
    error
}

/// Returns `InvalidArgument` with a reason.
pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> S3Error {
    failure_with(S3ErrorCode::InvalidArgument, message)
}

/// Returns `BadDigest`, for a checksum that differs from the declared one.
pub fn bad_digest(algorithm: Algorithm) -> S3Error {
    failure_with(
        S3ErrorCode::BadDigest,
        format!(
            "The {} you specified did not match the calculated checksum.",
            algorithm.name()
        ),
    )
}

/// Returns an error whose code `s3s` does not know.
pub fn custom(status: StatusCode, code: &'static str, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

/// Returns `NotImplemented`, for a feature of S3 that localcloud lacks.
pub fn unsupported(what: &str) -> S3Error {
    failure_with(
        S3ErrorCode::NotImplemented,
        format!("localcloud does not support {what}."),
    )
}

/// Returns `InternalError`, for a failure of the disk.
pub fn internal(error: std::io::Error) -> S3Error {
    tracing::warn!(%error, "the S3 store failed");
    let mut failed = failure(S3ErrorCode::InternalError);
    failed.set_source(Box::new(error));
    failed
}

/// Returns the message that AWS sends with a code.
pub fn message_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDenied" => "Access Denied",
        "BadDigest" => "The Content-MD5 you specified did not match what we received.",
        "BucketAlreadyOwnedByYou" => {
            "Your previous request to create the named bucket succeeded and you already own it."
        }
        "BucketNotEmpty" => "The bucket you tried to delete is not empty",
        "EntityTooLarge" => "Your proposed upload exceeds the maximum allowed size",
        "EntityTooSmall" => "Your proposed upload is smaller than the minimum allowed size",
        "IllegalLocationConstraintException" => {
            "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to."
        }
        "IncompleteBody" => {
            "You did not provide the number of bytes specified by the Content-Length HTTP header"
        }
        "InternalError" => "We encountered an internal error. Please try again.",
        "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidDigest" => "The Content-MD5 you specified was invalid.",
        "InvalidLocationConstraint" => "The specified location-constraint is not valid",
        "InvalidPart" => {
            "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
        }
        "InvalidPartOrder" => {
            "The list of parts was not in ascending order. Parts must be ordered by part number."
        }
        "InvalidRange" => "The requested range is not satisfiable",
        "InvalidStorageClass" => "The storage class you specified is not valid",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => {
            "The XML you provided was not well-formed or did not validate against our published schema"
        }
        "MetadataTooLarge" => "Your metadata headers exceed the maximum allowed metadata size",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "NoSuchBucket" => "The specified bucket does not exist",
        "NoSuchBucketPolicy" => "The bucket policy does not exist",
        "NoSuchCORSConfiguration" => "The CORS configuration does not exist",
        "NoSuchKey" => "The specified key does not exist.",
        "NoSuchLifecycleConfiguration" => "The lifecycle configuration does not exist",
        "NoSuchTagSet" => "The TagSet does not exist",
        "NoSuchUpload" => {
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
        }
        "NoSuchWebsiteConfiguration" => {
            "The specified bucket does not have a website configuration"
        }
        "NotImplemented" => "A header you provided implies functionality that is not implemented",
        "NotModified" => "Not Modified",
        "ObjectLockConfigurationNotFoundError" => {
            "Object Lock configuration does not exist for this bucket"
        }
        "PreconditionFailed" => "At least one of the pre-conditions you specified did not hold",
        "ReplicationConfigurationNotFoundError" => "The replication configuration was not found",
        "RequestTimeTooSkewed" => {
            "The difference between the request time and the current time is too large."
        }
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        }
        _ => return None,
    })
}
