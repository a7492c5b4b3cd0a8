//! Results and errors as messages.

use photo::DecodeError;
use proto::v1::recognition_result::Outcome as Reply;
use proto::v1::{
    BoundingBox, Candidate, Failure, FailureCode, Point, Recognition, RecognitionResult,
};

use crate::vision::{Recognized, VisionError};

#[cfg(test)]
mod tests;

/// The largest reply: graders limit the messages of both queues.
pub const REPLY_MAX_BYTES: usize = 1024;
/// Texts beside the name are shortened to this many bytes where room is short. A character takes up to six bytes in JSON.
const SHORT_TEXT_BYTES: usize = 24;
const SHORT_MESSAGE_BYTES: usize = 128;

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

/// Encodes a reply in at most [`REPLY_MAX_BYTES`], which a queue for graders may not exceed. Where a name in the gallery is
/// long, it leaves out digits of coordinates, then candidates, the farthest first, then shortens all texts but the name, then
/// leaves out landmarks. A name that is too long by itself makes the reply a failure.
pub fn encode(mut result: RecognitionResult) -> String {
    let mut text = proto::encode(&result);
    for shorten in [
        round_coordinates,
        drop_candidate,
        drop_candidate,
        drop_candidate,
        shorten_texts,
        drop_landmarks,
    ] {
        if text.len() <= REPLY_MAX_BYTES {
            return text;
        }
        shorten(&mut result);
        text = proto::encode(&result);
    }
    if text.len() > REPLY_MAX_BYTES {
        tracing::warn!(
            request_id = result.job_id,
            bytes = text.len(),
            "the name does not fit into a reply"
        );
        result.outcome = Some(failure(
            FailureCode::Internal,
            "the name in the gallery is too long for a reply; the result is in the out-bucket",
        ));
        text = proto::encode(&result);
    }
    text
}

/// Rounds to hundredths of a pixel and microseconds.
fn round_coordinates(result: &mut RecognitionResult) {
    let round = |value: &mut f32, parts: f32| *value = (*value * parts).round() / parts;
    if let Some(timings) = &mut result.timings {
        for time in [
            &mut timings.decode_ms,
            &mut timings.detect_ms,
            &mut timings.embed_ms,
            &mut timings.match_ms,
            &mut timings.fetch_ms,
            &mut timings.store_ms,
            &mut timings.total_ms,
        ] {
            round(time, 1000.0);
        }
    }
    let Some(Reply::Recognition(recognition)) = &mut result.outcome else {
        return;
    };
    for point in &mut recognition.landmarks {
        round(&mut point.x, 100.0);
        round(&mut point.y, 100.0);
    }
    if let Some(area) = &mut recognition.r#box {
        for side in [
            &mut area.left,
            &mut area.top,
            &mut area.right,
            &mut area.bottom,
        ] {
            round(side, 100.0);
        }
    }
}

fn drop_candidate(result: &mut RecognitionResult) {
    if let Some(Reply::Recognition(recognition)) = &mut result.outcome {
        recognition.candidates.pop();
    }
}

fn drop_landmarks(result: &mut RecognitionResult) {
    if let Some(Reply::Recognition(recognition)) = &mut result.outcome {
        recognition.landmarks.clear();
    }
}

fn shorten_texts(result: &mut RecognitionResult) {
    match &mut result.outcome {
        Some(Reply::Recognition(recognition)) => {
            shorten(&mut recognition.nearest_name, SHORT_TEXT_BYTES);
            shorten(&mut recognition.model, SHORT_TEXT_BYTES);
        }
        Some(Reply::Failure(failure)) => shorten(&mut failure.message, SHORT_MESSAGE_BYTES),
        None => {}
    }
    shorten(&mut result.instance_id, SHORT_TEXT_BYTES);
}

/// Cuts a text off, and says so.
fn shorten(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
}
