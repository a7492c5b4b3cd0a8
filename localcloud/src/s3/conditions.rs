//! Conditional requests. Pure.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use s3s::dto::{ETag, ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result};
use time::OffsetDateTime;

use super::failure::{failure, invalid_argument, unsupported};
use super::store::Object;
use crate::clock::Millis;

/// The conditions of a read or of a copy's source.
#[derive(Debug, Default)]
pub struct ReadConditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
    pub if_modified_since: Option<Timestamp>,
    pub if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// Checks the conditions of a read.
    ///
    /// # Errors
    /// `PreconditionFailed`, and `NotModified` if the client has the object already.
    pub fn check(&self, object: &Object) -> S3Result<()> {
        if self.mismatches(object) {
            return Err(failure(S3ErrorCode::PreconditionFailed));
        }
        if self.is_unmodified(object) {
            return Err(not_modified(object));
        }
        Ok(())
    }

    /// Checks the conditions of a copy's source.
    ///
    /// # Errors
    /// `PreconditionFailed`, also where a read returns `NotModified`.
    pub fn check_source(&self, object: &Object) -> S3Result<()> {
        if self.mismatches(object) || self.is_unmodified(object) {
            return Err(failure(S3ErrorCode::PreconditionFailed));
        }
        Ok(())
    }

    /// Returns whether the condition on the entity tag fails, or, without one, that on the time.
    fn mismatches(&self, object: &Object) -> bool {
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => !meets(condition, object),
            (None, Some(time)) => seconds(object.modified) > unix_seconds(time),
            (None, None) => false,
        }
    }

    fn is_unmodified(&self, object: &Object) -> bool {
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => meets(condition, object),
            (None, Some(time)) => seconds(object.modified) <= unix_seconds(time),
            (None, None) => false,
        }
    }
}

/// Reads a condition that `s3s` leaves in the headers.
///
/// # Errors
/// `InvalidArgument`.
pub fn condition_of(headers: &HeaderMap, name: &HeaderName) -> S3Result<Option<ETagCondition>> {
    let value = headers.get(name);
    let condition = value.map(|value| ETagCondition::parse_http_header(value.as_bytes()));
    let invalid = |_| invalid_argument("A condition is neither an entity tag nor *.");
    condition.transpose().map_err(invalid)
}

/// Checks the conditions of a write, given the object that it overwrites.
///
/// # Errors
/// `PreconditionFailed`; `NoSuchKey` for `If-Match` without an object; `NotImplemented` for conditions that S3 does not
/// support for writes.
pub fn check_write(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    present: Option<&Object>,
) -> S3Result<()> {
    match (if_match, if_none_match) {
        (Some(_), Some(_)) => Err(unsupported("If-Match together with If-None-Match")),
        (_, Some(ETagCondition::ETag(_))) => Err(failure(S3ErrorCode::NotImplemented)),
        (_, Some(ETagCondition::Any)) if present.is_some() => {
            Err(failure(S3ErrorCode::PreconditionFailed))
        }
        (Some(condition), _) => match present {
            None => Err(failure(S3ErrorCode::NoSuchKey)),
            Some(object) if !meets(condition, object) => {
                Err(failure(S3ErrorCode::PreconditionFailed))
            }
            Some(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Checks the size and the modification time that a delete expects of the object.
///
/// # Errors
/// `PreconditionFailed`.
pub fn check_version_of(
    present: Option<&Object>,
    size: Option<i64>,
    time: Option<&Timestamp>,
) -> S3Result<()> {
    let Some(object) = present else {
        return Ok(());
    };
    let same_size = size.is_none_or(|size| size == object.size as i64);
    let same_time = time.is_none_or(|time| unix_seconds(time) == seconds(object.modified));
    match same_size && same_time {
        true => Ok(()),
        false => Err(failure(S3ErrorCode::PreconditionFailed)),
    }
}

/// Returns the time in whole seconds, as S3 sends it.
pub fn to_timestamp(millis: Millis) -> Timestamp {
    let time = OffsetDateTime::from_unix_timestamp(seconds(millis));
    Timestamp::from(time.unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

/// Returns the seconds since the Unix epoch.
pub fn unix_seconds(time: &Timestamp) -> i64 {
    OffsetDateTime::from(time.clone()).unix_timestamp()
}

/// Returns the time as headers write it, such as `Wed, 21 Oct 2037 07:28:00 GMT`.
pub fn http_date(time: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    time.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

pub fn to_etag(object: &Object) -> ETag {
    ETag::Strong(object.etag.clone())
}

fn meets(condition: &ETagCondition, object: &Object) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.etag,
    }
}

fn seconds(millis: Millis) -> i64 {
    (millis / 1000) as i64
}

fn not_modified(object: &Object) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", object.etag)) {
        headers.insert(header::ETAG, etag);
    }
    let modified = http_date(&to_timestamp(object.modified));
    if let Some(Ok(value)) = modified.map(HeaderValue::try_from) {
        headers.insert(header::LAST_MODIFIED, value);
    }
    let mut error = failure(S3ErrorCode::NotModified);
    error.set_headers(headers);
    error
}
