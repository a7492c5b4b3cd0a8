//! What Lambda passes to a function.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::s3::S3Event;
use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

/// One invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Lambda's id, which the retries of an event share.
    pub id: String,
    /// When Lambda ends the function.
    pub deadline: SystemTime,
}

/// An object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    pub bucket: String,
    pub key: String,
}

/// The payload with which video-splitting invokes face-recognition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameEvent {
    #[serde(alias = "bucket")]
    pub bucket_name: String,
    #[serde(alias = "key")]
    pub image_file_name: String,
}

/// An event that face-recognition takes.
#[derive(Debug)]
pub enum RecognitionEvent {
    Frames(Vec<ObjectName>),
    Faces(SqsEvent),
}

impl Invocation {
    pub fn of(context: &Context) -> Self {
        Self {
            id: context.request_id.clone(),
            deadline: UNIX_EPOCH + Duration::from_millis(context.deadline),
        }
    }

    /// The time until Lambda ends the function.
    pub fn time_left(&self) -> Duration {
        let left = self.deadline.duration_since(SystemTime::now());
        left.unwrap_or(Duration::ZERO)
    }
}

/// Returns the created objects of an S3 event; `None` if the event is none: S3's test message, or a direct invocation.
///
/// # Errors
/// When it claims to be an event of S3 and is damaged.
pub fn created_objects(event: &Value) -> Result<Option<Vec<ObjectName>>, Failure> {
    if source(event) != Some("aws:s3") {
        return Ok(None);
    }
    let event = S3Event::deserialize(event).map_err(bad)?;
    let created = event.records.into_iter().filter(|record| {
        let name = record.event_name.as_deref().unwrap_or_default();
        name.trim_start_matches("s3:").starts_with("ObjectCreated:")
    });
    let objects = created.map(|record| {
        let (bucket, key) = (record.s3.bucket.name, record.s3.object.key);
        let (bucket, key) = bucket
            .zip(key)
            .ok_or_else(|| Failure::BadEvent("a record has no bucket or no key".to_owned()))?;
        let key = url_decode(&key);
        Ok(ObjectName { bucket, key })
    });
    objects.collect::<Result<_, _>>().map(Some)
}

impl RecognitionEvent {
    /// Parses the payload of [`FrameEvent`], an event of SQS, or one of S3.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(event: &Value) -> Result<Self, Failure> {
        if source(event) == Some("aws:sqs") {
            return Ok(Self::Faces(SqsEvent::deserialize(event).map_err(bad)?));
        }
        if let Some(objects) = created_objects(event)? {
            return Ok(Self::Frames(objects));
        }
        let frame = FrameEvent::deserialize(event).map_err(|error| {
            Failure::BadEvent(format!(
                "{error}; it has to be {{\"bucket_name\": …, \"image_file_name\": …}}, or an event of SQS or S3"
            ))
        })?;
        Ok(Self::Frames(vec![ObjectName {
            bucket: frame.bucket_name,
            key: frame.image_file_name,
        }]))
    }
}

/// Decodes a key as S3 encodes it in events: a space is a plus.
pub fn url_decode(text: &str) -> String {
    let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(&format!("={text}"));
    let decoded = pairs.ok().and_then(|pairs| pairs.into_iter().next());
    decoded.map_or_else(|| text.to_owned(), |(_, decoded)| decoded)
}

/// Encodes text as ASCII, for an object's metadata. [`url_decode`] is the reverse.
pub fn url_encode(text: &str) -> String {
    let encoded = serde_urlencoded::to_string([("", text)]);
    let encoded = encoded.unwrap_or_default();
    encoded.trim_start_matches('=').to_owned()
}

fn source(event: &Value) -> Option<&str> {
    event["Records"][0]["eventSource"].as_str()
}

fn bad(error: serde_json::Error) -> Failure {
    Failure::BadEvent(error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_survive_the_encoding_of_events_and_metadata() {
        for key in [
            "test_00.mp4",
            "a folder/Zoë + 王=1&2.mp4",
            "../%41.mp4",
            "=.mp4",
        ] {
            let encoded = url_encode(key);
            assert!(encoded.is_ascii(), "{encoded}");
            assert_eq!(url_decode(&encoded), key);
        }
        assert_eq!(url_decode("a+folder/Zo%C3%AB%2B.mp4"), "a folder/Zoë+.mp4");
    }

    #[test]
    fn what_is_no_event_of_s3_names_no_objects() {
        for event in [
            json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}),
            json!({}),
            json!(null),
            json!("hello"),
            json!({"Records": []}),
            json!({"Records": [{"eventSource": "aws:sqs"}]}),
        ] {
            assert_eq!(created_objects(&event).unwrap(), None, "{event}");
        }
        assert!(created_objects(&json!({"Records": [{"eventSource": "aws:s3"}]})).is_err());
    }

    #[test]
    fn a_frame_is_named_in_either_way() {
        for event in [
            json!({"bucket_name": "b", "image_file_name": "a/b.jpg"}),
            json!({"bucket": "b", "key": "a/b.jpg"}),
        ] {
            let RecognitionEvent::Frames(frames) = RecognitionEvent::parse(&event).unwrap() else {
                panic!("{event}");
            };
            let (bucket, key) = ("b".to_owned(), "a/b.jpg".to_owned());
            assert_eq!(frames, [ObjectName { bucket, key }]);
        }
        let error = RecognitionEvent::parse(&json!({"bucket": "b"})).unwrap_err();
        assert!(error.to_string().contains("image_file_name"), "{error}");
    }
}
