//! Results and errors as messages.

use photo::DecodeError;
use proto::v1::recognition_result::Outcome as Reply;
use proto::v1::{BoundingBox, Candidate, Failure, FailureCode, Point, Recognition};

use crate::vision::{Recognized, VisionError};

/// The reply for a photo that cannot be recognized.
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

/// The reply for a job whose client no longer waits.
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

/// The recognizer's result as a message.
pub fn recognition(recognized: Recognized) -> Recognition {
    let bounding_box = recognized.bounding_box;
    Recognition {
        name: recognized.name,
        distance: recognized.distance,
        confidence: recognized.face_probability,
        r#box: Some(BoundingBox {
            left: bounding_box.left,
            top: bounding_box.top,
            right: bounding_box.right,
            bottom: bounding_box.bottom,
        }),
        landmarks: recognized
            .landmarks
            .iter()
            .map(|p| Point { x: p.x, y: p.y })
            .collect(),
        model: recognized.model,
        nearest_name: recognized.nearest_name.unwrap_or_default(),
        threshold: recognized.threshold,
        candidates: recognized
            .candidates
            .into_iter()
            .map(|candidate| Candidate {
                name: candidate.name,
                distance: candidate.distance,
            })
            .collect(),
    }
}
