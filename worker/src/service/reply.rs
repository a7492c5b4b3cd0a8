//! Errors as messages.

use photo::DecodeError;
use proto::v1::recognition_result::Outcome as Reply;
use proto::v1::{Failure, FailureCode};

use crate::vision::VisionError;

/// Returns the reply for a photo that cannot be recognized.
pub fn vision_failure(error: &VisionError) -> Reply {
    let code = match error {
        VisionError::NoFace => FailureCode::NoFace,
        VisionError::Decode(decode) => match decode {
            DecodeError::NotAnImage | DecodeError::Unsupported { .. } => FailureCode::NotAnImage,
            DecodeError::Damaged(_) | DecodeError::Truncated => FailureCode::DamagedImage,
            DecodeError::TooManyPixels { .. } | DecodeError::TooSlow(_) => {
                FailureCode::TooManyPixels
            }
        },
    };
    failure(code, &error.to_string())
}

/// Returns the reply for a job whose client no longer waits.
pub fn expired() -> Reply {
    failure(
        FailureCode::DeadlineExceeded,
        "no worker had the photo before the deadline",
    )
}

pub fn failure(code: FailureCode, message: &str) -> Reply {
    Reply::Failure(Failure {
        code: code.into(),
        message: message.to_owned(),
    })
}
