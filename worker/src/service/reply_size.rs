//! Replies that fit into a message of the reply queue. Its size is that of the request queue, as courses demand.

use std::borrow::Cow;

use proto::names::REQUEST_MAX_BYTES;
use proto::v1::recognition_result::Outcome as Reply;
use proto::v1::{FailureCode, Recognition, RecognitionResult};

use super::reply::failure;

/// Characters of an error's message that are kept when it is too long. One takes up to six bytes in JSON.
const SHORT_MESSAGE: usize = 120;

/// What is left out of a reply that is too large, in this order. An ordinary reply has half of the size.
const LEAST_FIRST: [fn(&mut RecognitionResult); 6] = [
    |result| recognized(result, |it| it.candidates.clear()),
    |result| recognized(result, |it| it.landmarks.clear()),
    |result| recognized(result, |it| it.nearest_name.clear()),
    |result| recognized(result, |it| it.model.clear()),
    |result| result.stem.clear(),
    |result| match &mut result.outcome {
        Some(Reply::Failure(failure)) => {
            failure.message = failure.message.chars().take(SHORT_MESSAGE).collect();
        }
        // Only a name of hundreds of letters does not fit now.
        outcome => {
            let why =
                "the name in the gallery is too long for a reply; the result is in the out-bucket";
            tracing::warn!(request_id = result.job_id, "{why}");
            *outcome = Some(failure(FailureCode::Internal, why));
        }
    },
];

/// Encodes a result as a message of at most [`REQUEST_MAX_BYTES`].
#[must_use]
pub fn encode(result: &RecognitionResult) -> String {
    let mut text = proto::encode(result);
    let mut result = Cow::Borrowed(result);
    for leave_out in LEAST_FIRST {
        if text.len() <= REQUEST_MAX_BYTES {
            break;
        }
        leave_out(result.to_mut());
        text = proto::encode(result.as_ref());
    }
    text
}

fn recognized(result: &mut RecognitionResult, change: impl FnOnce(&mut Recognition)) {
    if let Some(Reply::Recognition(recognition)) = &mut result.outcome {
        change(recognition);
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{BoundingBox, Candidate, Point, Timings};

    use super::*;

    /// Returns a reply whose numbers have as many digits as can be.
    fn result(name: &str) -> RecognitionResult {
        let number = 123.456_79;
        let candidate = Candidate {
            name: name.to_owned(),
            distance: number,
        };
        RecognitionResult {
            job_id: "0af76519-16cd-43dd-8448-eb211c80319c".to_owned(),
            outcome: Some(Reply::Recognition(Recognition {
                name: name.to_owned(),
                distance: number,
                confidence: 0.999_999_9,
                r#box: Some(BoundingBox {
                    left: number,
                    top: number,
                    right: number,
                    bottom: number,
                }),
                landmarks: vec![
                    Point {
                        x: number,
                        y: number
                    };
                    5
                ],
                model: "facenet128".to_owned(),
                nearest_name: name.to_owned(),
                threshold: number,
                candidates: vec![candidate; 3],
            })),
            timings: Some(Timings {
                decode_ms: number,
                detect_ms: number,
                embed_ms: number,
                match_ms: number,
                fetch_ms: number,
                store_ms: number,
                total_ms: number,
            }),
            instance_id: "i-0123456789abcdef0".to_owned(),
            stem: "a file name of thirty characters".to_owned(),
        }
    }

    #[test]
    fn an_ordinary_reply_is_sent_whole() {
        let result = result("a name of thirty letters, long");
        let text = encode(&result);
        assert_eq!(text, proto::encode(&result));
        assert!(text.len() <= REQUEST_MAX_BYTES, "{} bytes", text.len());
    }

    #[test]
    fn a_reply_that_is_too_large_keeps_its_name() {
        for letters in [60, 120, 200, 400, 600] {
            let name = "x".repeat(letters);
            let text = encode(&result(&name));
            assert!(text.len() <= REQUEST_MAX_BYTES, "{} bytes", text.len());
            let read: RecognitionResult = proto::decode(&text).unwrap();
            let Some(Reply::Recognition(recognition)) = read.outcome else {
                panic!("no name in {text}")
            };
            assert_eq!(recognition.name, name);
            assert!(recognition.r#box.is_some());
        }
    }

    #[test]
    fn a_name_that_cannot_fit_is_an_error_and_errors_are_short() {
        let message = "é\u{1}".repeat(1000);
        let too_long = RecognitionResult {
            outcome: Some(failure(FailureCode::Internal, &message)),
            ..result("")
        };
        for (result, expected) in [(result(&message), "too long"), (too_long, "é\\u0001é")] {
            let text = encode(&result);
            assert!(text.len() <= REQUEST_MAX_BYTES, "{} bytes", text.len());
            assert!(
                text.contains("FAILURE_CODE_INTERNAL") && text.contains(expected),
                "{text}"
            );
        }
    }
}
