//! The conditions of requests. Pure.

use http::{HeaderMap, HeaderValue, header};
use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Error, S3ErrorCode, S3Result};
use time::OffsetDateTime;

use super::failure::{failure, unsupported};
use super::store::Object;
use crate::clock::Millis;

/// What a reader asks of the object.
#[derive(Debug, Default)]
pub struct ReadConditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
    pub if_modified_since: Option<Timestamp>,
    pub if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// # Errors
    /// `PreconditionFailed`, and `NotModified` where the reader has the object already.
    pub fn check(&self, object: &Object) -> S3Result<()> {
        if self.unwanted(object) {
            return Err(failure(S3ErrorCode::PreconditionFailed));
        }
        if self.known(object) {
            return Err(not_modified(object));
        }
        Ok(())
    }

    /// As `check` for the source of a copy, which is never just not modified.
    ///
    /// # Errors
    /// `PreconditionFailed`.
    pub fn check_source(&self, object: &Object) -> S3Result<()> {
        if self.unwanted(object) || self.known(object) {
            return Err(failure(S3ErrorCode::PreconditionFailed));
        }
        Ok(())
    }

    /// A condition on the entity tag makes S3 ignore the one on the time.
    fn unwanted(&self, object: &Object) -> bool {
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => !meets(condition, object),
            (None, Some(time)) => seconds(object.modified) > unix_seconds(time),
            (None, None) => false,
        }
    }

    fn known(&self, object: &Object) -> bool {
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => meets(condition, object),
            (None, Some(time)) => seconds(object.modified) <= unix_seconds(time),
            (None, None) => false,
        }
    }
}

/// Whether an object may be written over what is there.
///
/// # Errors
/// `PreconditionFailed`, `NoSuchKey` where an entity tag was asked for and nothing is there, `NotImplemented` for
/// conditions that S3 does not know for writing.
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

/// The time that S3 shows: whole seconds.
pub fn shown_time(millis: Millis) -> Timestamp {
    let time = i64::try_from(millis / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    Timestamp::from(time.unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

/// Seconds since the Unix epoch.
pub fn unix_seconds(time: &Timestamp) -> i64 {
    OffsetDateTime::from(time.clone()).unix_timestamp()
}

/// The entity tag as S3 sends it.
pub fn shown_etag(object: &Object) -> ETag {
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
    let mut text = Vec::new();
    let shown = shown_time(object.modified).format(s3s::dto::TimestampFormat::HttpDate, &mut text);
    if let (Ok(()), Ok(value)) = (shown, HeaderValue::from_bytes(&text)) {
        headers.insert(header::LAST_MODIFIED, value);
    }
    let mut error = failure(S3ErrorCode::NotModified);
    error.set_headers(headers);
    error
}
