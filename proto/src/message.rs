//! Queue messages, as canonical protobuf JSON.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::FILE_DESCRIPTOR_SET;

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build wrote a valid descriptor set")
});

/// A queue message that is not the canonical JSON of its type.
#[derive(Debug, thiserror::Error)]
#[error("not a valid queue message: {0}")]
pub struct MessageError(#[from] serde_json::Error);

/// Encodes a message as canonical JSON (<https://protobuf.dev/programming-guides/json/>).
#[must_use]
pub fn encode<M: Message + Name>(message: &M) -> String {
    json(descriptor(&M::full_name()), &message.encode_to_vec())
}

/// Not generic, so that it is compiled once, as optimized as this crate.
fn json(descriptor: MessageDescriptor, bytes: &[u8]) -> String {
    let message =
        DynamicMessage::decode(descriptor, bytes).expect("the descriptor is the message's own");
    serde_json::to_string(&message).expect("a generated message has only fields that JSON can hold")
}

/// Decodes a message. Unknown fields are ignored, so that a newer sender is understood.
///
/// # Errors
/// When the text is not the JSON of an `M`.
pub fn decode<M: Message + Name + Default>(text: &str) -> Result<M, MessageError> {
    let message = from_json(descriptor(&M::full_name()), text)?;
    Ok(message
        .transcode_to()
        .expect("the descriptor is the message's own"))
}

fn from_json(descriptor: MessageDescriptor, text: &str) -> Result<DynamicMessage, MessageError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let options = prost_reflect::DeserializeOptions::new().deny_unknown_fields(false);
    let message =
        DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, &options)?;
    deserializer.end()?;
    Ok(message)
}

fn descriptor(full_name: &str) -> MessageDescriptor {
    DESCRIPTORS
        .get_message_by_name(full_name)
        .expect("every generated message is in the descriptor set")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::file_name::MAX_BYTES;
    use crate::names::REQUEST_MAX_BYTES;
    use crate::v1::{
        Failure, FailureCode, RecognitionJob, RecognitionResult, recognition_result::Outcome,
    };
    use crate::{FileName, JobId};

    fn job(file_name: &str) -> RecognitionJob {
        let file_name = FileName::parse(file_name).unwrap();
        RecognitionJob {
            job_id: JobId::random().to_string(),
            object_key: file_name.derived("0123456789abcdef").to_string(),
            file_name: file_name.to_string(),
            // SQS's limit.
            reply_queue: "q".repeat(80),
            deadline: Some(prost_types::Timestamp {
                seconds: 1_800_000_000,
                nanos: 123_456_789,
            }),
            photo_sha256: "0123456789abcdef".repeat(4),
            time_to_live_ms: u32::MAX,
            traceparent: format!(
                "00-{}-{}-01",
                "0af7651916cd43dd".repeat(2),
                "b7ad6b7169203331"
            ),
            frame: None,
        }
    }

    #[test]
    fn a_job_is_written_in_canonical_json() {
        let text = encode(&RecognitionJob {
            job_id: "j".into(),
            time_to_live_ms: 120_000,
            traceparent: String::new(),
            ..job("a.jpg")
        });
        assert_eq!(
            text,
            format!(
                concat!(
                    r#"{{"jobId":"j","objectKey":"a~0123456789abcdef.jpg","fileName":"a.jpg","#,
                    r#""replyQueue":"{}","deadline":"2027-01-15T08:00:00.123456789Z","photoSha256":"{}","timeToLiveMs":120000}}"#
                ),
                "q".repeat(80),
                "0123456789abcdef".repeat(4)
            )
        );
    }

    #[test]
    fn the_largest_job_fits_into_one_request_message() {
        let text = encode(&job(&"x".repeat(MAX_BYTES)));
        assert!(text.len() <= REQUEST_MAX_BYTES, "{} bytes", text.len());
    }

    #[test]
    fn a_result_keeps_its_outcome() {
        let result = RecognitionResult {
            outcome: Some(Outcome::Failure(Failure {
                code: FailureCode::NoFace.into(),
                message: "no face found".into(),
            })),
            ..RecognitionResult::default()
        };
        let text = encode(&result);
        assert!(text.contains(r#""code":"FAILURE_CODE_NO_FACE""#), "{text}");
        assert_eq!(decode::<RecognitionResult>(&text).unwrap(), result);
    }

    #[test]
    fn other_text_is_refused() {
        assert!(decode::<RecognitionJob>("hello").is_err());
        assert!(decode::<RecognitionJob>(r#"{"jobId":7}"#).is_err());
    }

    proptest! {
        #[test]
        fn every_valid_file_name_fits_and_survives(name in "\\PC{1,300}") {
            if FileName::parse(&name).is_ok() {
                let job = job(&name);
                let text = encode(&job);
                prop_assert!(text.len() <= REQUEST_MAX_BYTES);
                prop_assert_eq!(decode::<RecognitionJob>(&text).unwrap(), job);
            }
        }
    }
}
