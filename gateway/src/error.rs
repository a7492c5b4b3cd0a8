use std::error::Error;
use std::time::Duration;

use axum::http::StatusCode;
use proto::v1::{Failure, FailureCode};
use proto::{FileNameError, v1};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// The trailer in which front names the [`ErrorCode`].
pub const CODE_METADATA: &str = "muster-error-code";
/// The trailer in which front says after how many seconds to try again; named as HTTP's header.
pub const RETRY_AFTER_METADATA: &str = "retry-after";

/// Why a request was not answered with a name. See the crate's documentation for when each is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    BadRequest,
    BadFileName,
    NoKey,
    KeyLacksRole,
    KeyUsedTooOften,
    NotFound,
    MethodNotAllowed,
    UploadTooSlow,
    TooLarge,
    TooManyPixels,
    NotAnImage,
    DamagedImage,
    NoFace,
    Overloaded,
    Internal,
    Unavailable,
    PhotoVanished,
    DeadlineExceeded,
}

/// A refusal or failure, with one line for the person who sent the photo.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    pub code: ErrorCode,
    pub message: String,
    /// When it makes sense to try the same again.
    pub retry_after: Option<Duration>,
}

/// How an error code appears on the wire.
#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    grpc: Code,
    http: StatusCode,
    retry_after: Option<Duration>,
}

const ALL: [ErrorCode; 18] = {
    use ErrorCode::*;
    [
        BadRequest,
        BadFileName,
        NoKey,
        KeyLacksRole,
        KeyUsedTooOften,
        NotFound,
        MethodNotAllowed,
        UploadTooSlow,
        TooLarge,
        TooManyPixels,
        NotAnImage,
        DamagedImage,
        NoFace,
        Overloaded,
        Internal,
        Unavailable,
        PhotoVanished,
        DeadlineExceeded,
    ]
};

impl ErrorCode {
    /// The one table from error to gRPC code to HTTP status.
    fn row(self) -> Row {
        use Code as Grpc;
        use StatusCode as Http;
        let (name, grpc, http, retry_after_seconds) = match self {
            Self::BadRequest => (
                "bad_request",
                Grpc::InvalidArgument,
                Http::BAD_REQUEST,
                None,
            ),
            Self::BadFileName => (
                "bad_file_name",
                Grpc::InvalidArgument,
                Http::BAD_REQUEST,
                None,
            ),
            Self::NoKey => ("no_key", Grpc::Unauthenticated, Http::UNAUTHORIZED, None),
            Self::KeyLacksRole => (
                "key_lacks_role",
                Grpc::PermissionDenied,
                Http::FORBIDDEN,
                None,
            ),
            Self::KeyUsedTooOften => (
                "key_used_too_often",
                Grpc::ResourceExhausted,
                Http::TOO_MANY_REQUESTS,
                Some(1),
            ),
            Self::NotFound => ("not_found", Grpc::NotFound, Http::NOT_FOUND, None),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                Grpc::Unimplemented,
                Http::METHOD_NOT_ALLOWED,
                None,
            ),
            Self::UploadTooSlow => (
                "upload_too_slow",
                Grpc::Aborted,
                Http::REQUEST_TIMEOUT,
                None,
            ),
            Self::TooLarge => (
                "too_large",
                Grpc::InvalidArgument,
                Http::PAYLOAD_TOO_LARGE,
                None,
            ),
            Self::TooManyPixels => (
                "too_many_pixels",
                Grpc::InvalidArgument,
                Http::PAYLOAD_TOO_LARGE,
                None,
            ),
            Self::NotAnImage => (
                "not_an_image",
                Grpc::InvalidArgument,
                Http::UNSUPPORTED_MEDIA_TYPE,
                None,
            ),
            Self::DamagedImage => (
                "damaged_image",
                Grpc::InvalidArgument,
                Http::UNPROCESSABLE_ENTITY,
                None,
            ),
            Self::NoFace => (
                "no_face",
                Grpc::InvalidArgument,
                Http::UNPROCESSABLE_ENTITY,
                None,
            ),
            Self::Overloaded => (
                "overloaded",
                Grpc::ResourceExhausted,
                Http::TOO_MANY_REQUESTS,
                Some(2),
            ),
            Self::Internal => (
                "internal",
                Grpc::Internal,
                Http::INTERNAL_SERVER_ERROR,
                None,
            ),
            Self::Unavailable => (
                "unavailable",
                Grpc::Unavailable,
                Http::SERVICE_UNAVAILABLE,
                Some(5),
            ),
            Self::PhotoVanished => (
                "photo_vanished",
                Grpc::Aborted,
                Http::SERVICE_UNAVAILABLE,
                Some(1),
            ),
            Self::DeadlineExceeded => (
                "deadline_exceeded",
                Grpc::DeadlineExceeded,
                Http::GATEWAY_TIMEOUT,
                None,
            ),
        };
        Row {
            name,
            grpc,
            http,
            retry_after: retry_after_seconds.map(Duration::from_secs),
        }
    }

    /// The code's name in JSON, in trailers and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    #[must_use]
    pub fn http_status(self) -> StatusCode {
        self.row().http
    }

    /// Whether the photo itself is at fault, so that sending it again cannot help.
    #[must_use]
    pub fn is_bad_photo(self) -> bool {
        matches!(
            self,
            Self::NotAnImage | Self::DamagedImage | Self::TooManyPixels | Self::NoFace
        )
    }

    fn from_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|code| code.name() == name)
    }
}

impl RequestError {
    /// The message is cut to one line: parts of it may come from another process.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = message
            .split(char::is_control)
            .collect::<Vec<_>>()
            .join(" ");
        Self {
            code,
            message,
            retry_after: code.row().retry_after,
        }
    }
}

impl RequestError {
    /// [`retry_after`](Self::retry_after) as headers have it: in whole seconds, and never too early.
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
        let name = row.name.parse().expect("the names are lower case ASCII");
        metadata.insert(CODE_METADATA, name);
        if let Some(seconds) = error.retry_after_seconds() {
            metadata.insert(RETRY_AFTER_METADATA, seconds.into());
        }
        Self::with_metadata(row.grpc, error.message, metadata)
    }
}

impl From<Status> for RequestError {
    /// What front's status means to an HTTP client. Statuses without our trailer come from the transport; their texts
    /// are for operators, not for clients.
    fn from(status: Status) -> Self {
        let named = status
            .metadata()
            .get(CODE_METADATA)
            .and_then(|name| name.to_str().ok());
        if let Some(code) = named.and_then(ErrorCode::from_name) {
            return Self::new(code, status.message());
        }
        let denied = match status.code() {
            Code::Unauthenticated => Some(ErrorCode::NoKey),
            Code::PermissionDenied => Some(ErrorCode::KeyLacksRole),
            _ => None,
        };
        if let Some(code) = denied {
            return Self::new(code, status.message());
        }
        tracing::warn!(code = ?status.code(), message = status.message(), "front could not be asked");
        let (code, message) = match status.code() {
            Code::Unavailable => (ErrorCode::Unavailable, "the service cannot be reached"),
            Code::DeadlineExceeded | Code::Cancelled => {
                (ErrorCode::DeadlineExceeded, "no answer in time")
            }
            Code::ResourceExhausted => (ErrorCode::Overloaded, "too many requests in flight"),
            Code::OutOfRange => (ErrorCode::TooLarge, "the photo is too large"),
            // Only what the transport reports has a source: the connection ended before the answer came.
            _ if status.source().is_some() => (
                ErrorCode::Unavailable,
                "the connection to the service broke before the answer came; send the photo again",
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
    fn every_code_survives_the_way_from_front_to_the_gateway() {
        for code in ALL {
            let error = RequestError::new(code, "reason");
            assert_eq!(RequestError::from(Status::from(error.clone())), error);
        }
    }

    #[test]
    fn retry_after_is_whole_seconds() {
        let status = Status::from(RequestError::new(ErrorCode::Overloaded, "busy"));
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
