//! Faces that come from a queue, and names that go into another.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use photo::{Photo, decode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use worker::vision::crop::crop_face;
use worker::vision::{BoundingBox, Recognizer, UNKNOWN};

use super::Recognition;
use crate::failure::Failure;

/// A message of the request queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaceMessage {
    pub request_id: String,
    #[serde(default)]
    pub filename: String,
    /// A JPEG, PNG or WebP of the face alone, in base64.
    pub face: String,
}

/// A message of the response queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NameMessage {
    pub request_id: String,
    pub result: String,
}

impl Recognition {
    /// Recognizes the face of each message and sends its name. The reply lists the messages that failed, which SQS then
    /// delivers again, and moves to the dead-letter queue in the end.
    pub(super) async fn recognize_messages(&self, messages: SqsEvent) -> Result<Value, Failure> {
        let Some(queue) = &self.settings.response_queue else {
            return Err(Failure::Settings("set MUSTER_RESPONSE_QUEUE".to_owned()));
        };
        let mut failed = SqsBatchResponse::default();
        for message in messages.records {
            let id = message.message_id.clone().unwrap_or_default();
            if let Err(error) = self.recognize_message(message, queue).await {
                tracing::warn!(message = id, %error, "the message failed");
                failed.add_failure(id);
            }
        }
        Ok(json!(failed))
    }

    async fn recognize_message(&self, message: SqsMessage, queue: &str) -> Result<(), Failure> {
        let bad = |reason: String| Failure::BadEvent(reason);
        let body = message.body.unwrap_or_default();
        let face: FaceMessage = serde_json::from_str(&body).map_err(|e| bad(e.to_string()))?;
        let encoded = BASE64_STANDARD.decode(face.face.trim());
        let encoded = encoded.map_err(|error| bad(format!("the face: {error}")))?;
        let (recognizer, limits) = (self.recognizer.clone(), self.decode_limits());
        let named = tokio::task::spawn_blocking(move || {
            let photo = decode(&encoded, &limits)?;
            Ok::<_, photo::DecodeError>(name_crop(&recognizer, &photo))
        });
        let (name, distance) = named
            .await?
            .map_err(|error| bad(format!("the face: {error}")))?;
        let request_id = face.request_id;
        tracing::info!(face = request_id, name, distance, "recognized");
        let reply = json!(NameMessage {
            request_id,
            result: name,
        });
        let send = self.sqs.send_message().queue_url(queue);
        let sent = send.message_body(reply.to_string()).send().await;
        sent.map_err(|error| Failure::unavailable("SendMessage", &error))?;
        Ok(())
    }
}

/// Names a face that was cut out already. One of the model's size is taken as it is, others are resized.
fn name_crop(recognizer: &Recognizer, photo: &Photo) -> (String, f32) {
    let whole = BoundingBox {
        left: 0.0,
        top: 0.0,
        right: photo.width() as f32,
        bottom: photo.height() as f32,
    };
    let description = recognizer.description();
    let crop = crop_face(photo, &whole, description.input_size, 0);
    let embeddings = recognizer.embed_crops(&[crop]);
    let nearest = embeddings
        .first()
        .and_then(|embedding| recognizer.gallery().nearest(embedding));
    let measured = nearest.map(|nearest| {
        let distance = description.distance.of_euclidean(nearest.distance);
        (nearest.name.to_owned(), distance)
    });
    let farthest = description.distance.of_euclidean(2.0);
    match measured {
        Some((name, distance)) if distance <= description.threshold => (name, distance),
        Some((_, distance)) => (UNKNOWN.to_owned(), distance),
        None => (UNKNOWN.to_owned(), farthest),
    }
}
