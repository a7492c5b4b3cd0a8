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

/// Returns whether the clip is at fault, so that a retry cannot help.
pub fn is_at_fault(error: &RequestError) -> bool {
    matches!(
        error.code,
        ErrorCode::NotAClip
            | ErrorCode::ClipBeyondLimits
            | ErrorCode::TooLarge
            // The stored clip was deleted.
            | ErrorCode::NotFound
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn errors_of_ffmpeg_have_codes_that_say_whether_the_clip_is_at_fault() {
        let code = |error: VideoError| refused_by_ffmpeg(&error);
        let missing = code(VideoError::ToolMissing("ffmpeg", "MUSTER_FFMPEG"));
        assert_eq!(missing.code.http_status().as_u16(), 501);
        assert!(missing.message.contains("install FFmpeg"), "{missing}");
        assert!(!is_at_fault(&missing));
        for (error, status) in [
            (VideoError::NotAClip("x".to_owned()), 400),
            (VideoError::NoPicture, 400),
            (VideoError::TooManyFrames(9), 400),
            (VideoError::TimedOut(Duration::from_secs(9)), 400),
            (VideoError::OutOfMemory(9), 400),
            (VideoError::TooLarge { bytes: 9, limit: 1 }, 413),
        ] {
            let refused = code(error);
            assert_eq!(refused.code.http_status().as_u16(), status, "{refused}");
            assert!(is_at_fault(&refused), "{refused}");
            assert_ne!(failure_of(refused.code), FailureCode::Internal);
        }
        let broken = code(VideoError::Failed("x".to_owned()));
        assert_eq!(broken.code, ErrorCode::Internal);
    }
}
