//! Why a request fails, and how that appears in HTTP and gRPC.

use std::error::Error;
use std::time::Duration;

use axum::http::StatusCode;
use proto::v1::{Failure, FailureCode};
use proto::{FileNameError, v1};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// The trailer in which front names the [`ErrorCode`].
pub const CODE_METADATA: &str = "muster-error-code";
/// The trailer with the number of seconds after which a retry makes sense. It has the name of HTTP's header.
pub const RETRY_AFTER_METADATA: &str = "retry-after";

/// Defines [`ErrorCode`] and its table: variant, name, HTTP status, gRPC code, default `Retry-After` in seconds, cause.
macro_rules! error_codes {
    ($($code:ident $name:literal $http:literal $grpc:ident $retry_after:expr, $cause:literal;)*) => {
        /// Why a request was not answered with a name.
        ///
        /// | code | HTTP status | gRPC code | cause |
        /// |---|---|---|---|
        $(#[doc = concat!("| `", $name, "` | ", $http, " | `", stringify!($grpc), "` | ", $cause, " |")])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ErrorCode { $($code),* }

        const TABLE: &[Row] = &[$(Row {
            code: ErrorCode::$code,
            name: $name,
            http: $http,
            grpc: Code::$grpc,
            retry_after: $retry_after,
        }),*];
    };
}

error_codes! {
    BadRequest       "bad_request"        400 InvalidArgument   None,    "empty or damaged body, not multipart, no part `inputFile`, two of them, no file name, an empty file";
    BadFileName      "bad_file_name"      400 InvalidArgument   None,    "path or control characters, quotes, colons, more than 255 bytes (or than the object store accepts), nothing before the extension";
    NoKey            "no_key"             401 Unauthenticated   None,    "no API key, or an invalid one";
    KeyLacksRole     "key_lacks_role"     403 PermissionDenied  None,    "the API key lacks the role";
    CrossSite        "cross_site"         403 PermissionDenied  None,    "a call by a web page of another site";
    NotFound         "not_found"          404 NotFound          None,    "another path, a clip or a result that is not there";
    MethodNotAllowed "method_not_allowed" 405 Unimplemented     None,    "another method than the path has";
    UploadTooSlow    "upload_too_slow"    408 Aborted           None,    "the upload did not arrive in time";
    TooLarge         "too_large"          413 InvalidArgument   None,    "more bytes than the limit (10 MiB)";
    TooManyPixels    "too_many_pixels"    413 InvalidArgument   None,    "more pixels than the limit (40 megapixels)";
    NotAnImage       "not_an_image"       415 InvalidArgument   None,    "not a JPEG, PNG or WebP image";
    DamagedImage     "damaged_image"      422 InvalidArgument   None,    "an image that cannot be decoded";
    NoFace           "no_face"            422 InvalidArgument   None,    "an image without a face";
    NotAClip         "not_a_clip"         400 InvalidArgument   None,    "a file posted to `/v1/videos` that FFmpeg reads as no clip, or that has no pictures";
    ClipBeyondLimits "clip_beyond_limits" 400 InvalidArgument   None,    "a clip that is longer, has larger pictures or more frames, or takes FFmpeg more time or memory, than the limits";
    KeyUsedTooOften  "key_used_too_often" 429 ResourceExhausted Some(1), "the API key's rate limit; with `Retry-After`";
    Overloaded       "overloaded"         429 ResourceExhausted Some(2), "too many requests in flight, or too many bytes of photos; with `Retry-After`";
    Internal         "internal"           500 Internal          None,    "a fault of the service, for example a job that failed five times";
    NoFfmpeg         "no_ffmpeg"          501 Unimplemented     None,    "a clip, while front's machine has no FFmpeg";
    Unavailable      "unavailable"        503 Unavailable       Some(5), "front, the object store or the queue cannot be reached; with `Retry-After`";
    PhotoVanished    "photo_vanished"     503 Aborted           Some(1), "the stored photo was deleted before a worker fetched it; with `Retry-After`";
    DeadlineExceeded "deadline_exceeded"  504 DeadlineExceeded  None,    "no worker answered in time; a later answer is at `/v1/results/<request id>`";
}

/// How an error code appears on the wire.
#[derive(Debug)]
struct Row {
    code: ErrorCode,
    name: &'static str,
    http: u16,
    grpc: Code,
    retry_after: Option<u64>,
}

/// An error with a message of one line for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    pub code: ErrorCode,
    pub message: String,
    /// Time after which a retry makes sense.
    pub retry_after: Option<Duration>,
}

impl ErrorCode {
    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Returns the code's name in JSON, trailers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    #[must_use]
    pub fn http_status(self) -> StatusCode {
        StatusCode::from_u16(self.row().http).expect("the table has valid statuses")
    }

    /// Returns whether the photo itself is bad, so that a retry cannot help.
    #[must_use]
    pub fn is_bad_photo(self) -> bool {
        matches!(
            self,
            Self::NotAnImage | Self::DamagedImage | Self::TooManyPixels | Self::NoFace
        )
    }

    fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|it| it.code)
    }
}

impl RequestError {
    /// Makes the message one line: parts of it may come from another process.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = message
            .split(char::is_control)
            .collect::<Vec<_>>()
            .join(" ");
        Self {
            code,
            message,
            retry_after: code.row().retry_after.map(Duration::from_secs),
        }
    }

    /// Returns [`retry_after`](Self::retry_after) in whole seconds, rounded up, as headers have it.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after
            .map(|delay| delay.as_secs_f64().ceil() as u64)
    }
}

impl From<FileNameError> for RequestError {
    fn from(error: FileNameError) -> Self {
        Self::new(ErrorCode::BadFileName, error.to_string())
    }
}

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> Self {
        let code = match failure.code() {
            FailureCode::NotAnImage => ErrorCode::NotAnImage,
            FailureCode::DamagedImage => ErrorCode::DamagedImage,
            FailureCode::TooManyPixels => ErrorCode::TooManyPixels,
            FailureCode::NoFace => ErrorCode::NoFace,
            FailureCode::DeadlineExceeded => ErrorCode::DeadlineExceeded,
            FailureCode::ObjectMissing => ErrorCode::PhotoVanished,
            FailureCode::NotAClip => ErrorCode::NotAClip,
            FailureCode::ClipBeyondLimits => ErrorCode::ClipBeyondLimits,
            FailureCode::Internal | FailureCode::Unspecified => ErrorCode::Internal,
        };
        let message = match failure.message.is_empty() {
            true => v1::FailureCode::as_str_name(&failure.code()).to_owned(),
            false => failure.message,
        };
        Self::new(code, message)
    }
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        let row = error.code.row();
        let mut metadata = MetadataMap::new();
        let name = row.name.parse().expect("the names are lower-case ASCII");
        metadata.insert(CODE_METADATA, name);
        if let Some(seconds) = error.retry_after_seconds() {
            metadata.insert(RETRY_AFTER_METADATA, seconds.into());
        }
        Self::with_metadata(row.grpc, error.message, metadata)
    }
}

impl From<Status> for RequestError {
    /// Translates a status for an HTTP client. A status without the trailer [`CODE_METADATA`] comes from a check of the key or
    /// from the transport. The transport's texts are for operators and are not passed on.
    fn from(status: Status) -> Self {
        let text = |name| status.metadata().get(name)?.to_str().ok();
        let retry_after = text(RETRY_AFTER_METADATA).and_then(|text| text.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        let code = match status.code() {
            Code::Unauthenticated => Some(ErrorCode::NoKey),
            Code::PermissionDenied => Some(ErrorCode::KeyLacksRole),
            Code::ResourceExhausted if retry_after.is_some() => Some(ErrorCode::KeyUsedTooOften),
            _ => None,
        };
        if let Some(code) = text(CODE_METADATA).and_then(ErrorCode::from_name).or(code) {
            let error = Self::new(code, status.message());
            return Self {
                retry_after: retry_after.or(error.retry_after),
                ..error
            };
        }
        tracing::warn!(code = ?status.code(), message = status.message(), "the call to front failed");
        let (code, message) = match status.code() {
            Code::Unavailable => (ErrorCode::Unavailable, "the service cannot be reached"),
            Code::DeadlineExceeded | Code::Cancelled => {
                (ErrorCode::DeadlineExceeded, "no answer in time")
            }
            Code::ResourceExhausted => (ErrorCode::Overloaded, "too many requests in flight"),
            Code::OutOfRange => (ErrorCode::TooLarge, "the photo is too large"),
            // Only a status of the transport has a source: the connection broke before the answer came.
            _ if status.source().is_some() => (
                ErrorCode::Unavailable,
                "the connection to the service broke before the answer came; ask for /v1/results/ with this request's id, or send the photo again",
            ),
            _ => (ErrorCode::Internal, "the request failed"),
        };
        Self::new(code, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_call_to_front() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.code as usize, index);
            assert_eq!(row.code.http_status().as_u16(), row.http);
            let mut error = RequestError::new(row.code, "reason");
            assert_eq!(RequestError::from(Status::from(error.clone())), error);
            error.retry_after = Some(Duration::from_secs(77));
            assert_eq!(RequestError::from(Status::from(error.clone())), error);
        }
    }

    #[test]
    fn the_page_for_users_lists_every_code() {
        let page = include_str!("../../docs/using.md");
        for row in TABLE {
            let listed = format!("| {} | `{}` |", row.http, row.name);
            assert!(page.contains(&listed), "docs/using.md lacks {listed}");
        }
    }

    #[test]
    fn retry_after_is_whole_seconds() {
        let mut error = RequestError::new(ErrorCode::Overloaded, "busy");
        error.retry_after = Some(Duration::from_millis(1_001));
        let status = Status::from(error);
        assert_eq!(status.metadata().get(RETRY_AFTER_METADATA).unwrap(), "2");
    }

    #[test]
    fn a_message_is_one_line() {
        let failure = Failure {
            code: FailureCode::NoFace.into(),
            message: "no\nface".into(),
        };
        let error = RequestError::from(failure);
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::NoFace, "no face")
        );
    }
}
