//! Why a clip is refused.

use proto::v1::FailureCode;
use video::VideoError;

use crate::error::{ErrorCode, RequestError};

/// Translates an error of FFmpeg for the client.
pub fn refused_by_ffmpeg(error: &VideoError) -> RequestError {
    let code = match error {
        VideoError::NotAClip(_) | VideoError::NoPicture | VideoError::NoFrames => {
            ErrorCode::NotAClip
        }
        VideoError::ToolMissing(..) => ErrorCode::NoFfmpeg,
        VideoError::TooLarge { .. } => ErrorCode::TooLarge,
        error if error.is_permanent() => ErrorCode::ClipBeyondLimits,
        error => {
            tracing::error!(%error, "FFmpeg failed");
            return RequestError::new(ErrorCode::Internal, "FFmpeg failed on front's machine");
        }
    };
    RequestError::new(code, error.to_string())
}

/// Whether the clip is at fault, so that a retry cannot help.
pub fn is_at_fault(error: &RequestError) -> bool {
    matches!(
        error.code,
        ErrorCode::NotAClip | ErrorCode::ClipBeyondLimits | ErrorCode::TooLarge
    )
}

/// Returns what is stored of an error.
pub fn failure_of(code: ErrorCode) -> FailureCode {
    match code {
        ErrorCode::NotAClip => FailureCode::NotAClip,
        ErrorCode::ClipBeyondLimits | ErrorCode::TooLarge => FailureCode::ClipBeyondLimits,
        _ => FailureCode::Internal,
    }
}
