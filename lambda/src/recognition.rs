//! `face-recognition`: names the faces of frames in a bucket, and of faces in a queue.

use std::sync::Arc;

use photo::DecodeLimits;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::Instrument;
use worker::vision::{Recognizer, VisionError};

use crate::event::{Invocation, ObjectName, RecognitionEvent};
use crate::failure::Failure;
use crate::keys;
use crate::metadata::{DISTANCE, OUTCOME, REASON, REQUEST_ID, ascii};
use crate::objects::{Metadata, Object, Objects, Source, Stored};
use crate::settings::{ClipMode, FunctionSettings};

mod stream;
mod timeline;

pub use stream::{FaceMessage, NameMessage};

#[derive(Debug)]
pub struct Recognition {
    pub settings: FunctionSettings,
    pub objects: Objects,
    pub sqs: aws_sdk_sqs::Client,
    pub recognizer: Arc<Recognizer>,
}

/// What was recognized in a frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Named {
    outcome: &'static str,
    /// Empty without a face.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<f32>,
    #[serde(skip)]
    reason: Option<String>,
}

/// A frame's result, ready to be stored.
struct FrameResult {
    body: Vec<u8>,
    metadata: Metadata,
    /// For the invocation's reply.
    reply: Value,
}

impl Recognition {
    /// Recognizes each frame or face that the event names.
    ///
    /// # Errors
    /// When a frame could not be recognized, or the event cannot be used. Failed messages of a queue are named in the reply.
    pub async fn call(&self, event: &Value, invocation: &Invocation) -> Result<Value, Failure> {
        let frames = match RecognitionEvent::parse(event)? {
            RecognitionEvent::Faces(messages) => return self.recognize_messages(messages).await,
            RecognitionEvent::Frames(frames) => frames,
        };
        let (mut replies, mut failures) = (Vec::new(), Vec::new());
        for name in &frames {
            let span = tracing::info_span!("frame", bucket = name.bucket, key = name.key);
            match self
                .recognize_frame(name, invocation)
                .instrument(span)
                .await
            {
                Ok(reply) => replies.push(reply),
                Err(failure) => failures.push(failure),
            }
        }
        Failure::first_of(failures, frames.len())?;
        Ok(match replies.len() {
            1 => replies.remove(0),
            _ => json!({"frames": replies}),
        })
    }

    /// Stores the result for a frame, and its clip's timeline if it is the last one.
    async fn recognize_frame(
        &self,
        name: &ObjectName,
        invocation: &Invocation,
    ) -> Result<Value, Failure> {
        let frame = self.objects.get(name).await?;
        let frame = frame.ok_or_else(|| Failure::NoFrame {
            bucket: name.bucket.clone(),
            key: name.key.clone(),
        })?;
        let etag = frame.etag.clone();
        let output = self.settings.output_bucket(&name.bucket)?;
        let mode = self.settings.clip_mode;
        let (result, part) = match mode {
            ClipMode::Frame | ClipMode::Frames => (self.name_face(frame.body).await?, None),
            ClipMode::Timeline => {
                let part = timeline::Part::of(name, &frame)?;
                (self.find_faces(frame, &part).await?, Some(part))
            }
        };
        let FrameResult {
            body,
            mut metadata,
            mut reply,
        } = result;
        metadata.insert(REQUEST_ID.to_owned(), invocation.id.clone());
        let label = keys::label(&name.key);
        let source = Source {
            label: &label,
            etag: &etag,
        };
        let mut result = ObjectName {
            bucket: output,
            key: keys::result(&name.key, mode),
        };
        let store = async |name: &ObjectName| {
            let (body, metadata) = (body.clone(), metadata.clone());
            self.objects.store(name, body, metadata, source).await
        };
        let mut stored = store(&result).await?;
        if stored == Stored::Taken {
            result.key = keys::derived_result(&name.key, mode);
            stored = store(&result).await?;
        }
        if stored == Stored::Replaced {
            self.objects.check_unchanged(name, &etag).await?;
        }
        reply["result"] = json!({"bucket": result.bucket, "key": result.key});
        reply["stored"] = json!(stored != Stored::Before);
        if let Some(part) = part {
            let complete = self.complete(&part, &result.bucket, invocation).await?;
            reply["timeline"] = json!(complete);
        }
        Ok(reply)
    }

    /// Names the person in a frame.
    async fn name_face(&self, encoded: Vec<u8>) -> Result<FrameResult, Failure> {
        let recognizer = self.recognizer.clone();
        let recognized = tokio::task::spawn_blocking(move || recognizer.recognize(&encoded));
        let named = Named::of(recognized.await?)?;
        Ok(FrameResult {
            body: named.name.clone().into_bytes(),
            metadata: named.metadata(),
            reply: json!(named),
        })
    }

    fn decode_limits(&self) -> DecodeLimits {
        self.settings.decode_limits
    }
}

impl Named {
    fn of(result: Result<worker::vision::Recognized, VisionError>) -> Result<Self, Failure> {
        Ok(match result {
            Ok(recognized) => Self::new(recognized.name, recognized.distance),
            Err(VisionError::NoFace) => Self {
                outcome: "no-face",
                name: String::new(),
                distance: None,
                reason: None,
            },
            Err(VisionError::Decode(error)) => Self {
                outcome: "not-an-image",
                name: String::new(),
                distance: None,
                reason: Some(error.to_string()),
            },
        })
    }

    fn new(name: String, distance: f32) -> Self {
        let is_unknown = name == worker::vision::UNKNOWN;
        Self {
            outcome: if is_unknown { "unknown" } else { "named" },
            name,
            distance: Some(distance),
            reason: None,
        }
    }

    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::from([(OUTCOME.to_owned(), self.outcome.to_owned())]);
        let distance = self.distance.map(|distance| format!("{distance:.4}"));
        metadata.extend(distance.map(|distance| (DISTANCE.to_owned(), distance)));
        let reason = self.reason.as_deref().map(ascii);
        metadata.extend(reason.map(|reason| (REASON.to_owned(), reason)));
        metadata
    }
}

/// The metadata of an object by its key.
fn value<'a, B>(object: &'a Object<B>, key: &str) -> Option<&'a str> {
    object.metadata.get(key).map(String::as_str)
}
