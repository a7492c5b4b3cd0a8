//! `face-detection`: cuts the face out of a picture that comes by function URL, and queues it for face-recognition.

use std::io::Cursor;
use std::sync::Arc;

use aws_lambda_events::event::lambda_function_urls::LambdaFunctionUrlRequest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, RgbImage};
use photo::{DecodeLimits, decode};
use serde::Deserialize;
use serde_json::{Value, json};
use worker::kernels::Instructions;
use worker::model::bundle::{Bundle, BundleDescription};
use worker::vision::crop::{FaceCrop, crop_face};
use worker::vision::detect::Detector;
use worker::vision::engine::native::NativeDetector;
use worker::vision::recognizer::main_face;

use crate::failure::Failure;
use crate::recognition::{FaceMessage, NameMessage};
use crate::settings::FunctionSettings;

/// The result for a picture without a face.
pub const NO_FACE: &str = "No-Face";

#[derive(Debug)]
pub struct Detection {
    pub settings: FunctionSettings,
    pub sqs: aws_sdk_sqs::Client,
    pub finder: Arc<FaceFinder>,
}

/// MTCNN without the embedder.
#[derive(Debug)]
pub struct FaceFinder {
    detector: Detector,
    description: BundleDescription,
    limits: DecodeLimits,
}

/// What a client posts.
#[derive(Debug, Deserialize)]
struct PostedPhoto {
    request_id: String,
    #[serde(default)]
    filename: String,
    /// JPEG, PNG or WebP, in base64.
    content: String,
}

/// Why a client gets a 400.
struct Refused(String);

impl FaceFinder {
    /// Loads the detector of the bundle.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn load(settings: &FunctionSettings) -> anyhow::Result<Self> {
        let model = settings.model(worker::service::LinkedEngines::NATIVE_ONLY);
        let bundle = Bundle::open(&model.models)?;
        let networks = NativeDetector::load(&bundle, Instructions::best())?;
        Ok(Self {
            detector: Detector::new(Box::new(networks)),
            description: bundle.description,
            limits: settings.decode_limits,
        })
    }

    /// Runs the networks once, so that the first picture finds them ready.
    pub fn warm_up(&self) {
        self.detector.warm_up();
    }

    /// Cuts out the face that the picture is about, as the recognizer does it; `None` without a face.
    fn find(&self, encoded: &[u8]) -> Result<Option<FaceCrop>, photo::DecodeError> {
        let photo = decode(encoded, &self.limits)?;
        let face = main_face(self.detector.detect_large(&photo));
        let BundleDescription {
            input_size,
            crop_margin,
            ..
        } = self.description;
        Ok(face.map(|face| crop_face(&photo, &face.bounding_box, input_size, crop_margin)))
    }
}

impl Detection {
    /// Replies to a request of the function URL: 200 when the face is queued, or when there is none; 400 when the request
    /// cannot be used.
    ///
    /// # Errors
    /// When a queue cannot be reached. The client then gets a 502 from Lambda.
    pub async fn call(&self, event: &Value) -> Result<Value, Failure> {
        Ok(match self.detect(event).await? {
            Ok(reply) => http(200, &reply),
            Err(Refused(error)) => {
                tracing::warn!(error, "refused");
                http(400, &json!({"error": error}))
            }
        })
    }

    async fn detect(&self, event: &Value) -> Result<Result<Value, Refused>, Failure> {
        let picture = match picture(event) {
            Ok(picture) => picture,
            Err(refused) => return Ok(Err(refused)),
        };
        let encoded = match BASE64_STANDARD.decode(picture.content.trim()) {
            Ok(encoded) => encoded,
            Err(error) => return Ok(Err(Refused(format!("content is no base64: {error}")))),
        };
        let finder = self.finder.clone();
        let found = tokio::task::spawn_blocking(move || finder.find(&encoded));
        let crop = match found.await? {
            Ok(crop) => crop,
            Err(error) => return Ok(Err(Refused(error.to_string()))),
        };
        let PostedPhoto {
            request_id,
            filename,
            ..
        } = picture;
        tracing::info!(picture = request_id, face = crop.is_some(), "detected");
        Ok(Ok(match crop {
            Some(crop) => {
                let face = FaceMessage {
                    request_id: request_id.clone(),
                    filename,
                    face: BASE64_STANDARD.encode(png(crop)),
                };
                let queue = self.settings.request_queue.as_deref();
                self.send(queue, "MUSTER_REQUEST_QUEUE", &json!(face))
                    .await?;
                json!({"request_id": request_id, "face": true})
            }
            None => {
                let name = NameMessage {
                    request_id: request_id.clone(),
                    result: NO_FACE.to_owned(),
                };
                let queue = self.settings.response_queue.as_deref();
                self.send(queue, "MUSTER_RESPONSE_QUEUE", &json!(name))
                    .await?;
                json!({"request_id": request_id, "face": false, "result": NO_FACE})
            }
        }))
    }

    async fn send(&self, queue: Option<&str>, variable: &str, body: &Value) -> Result<(), Failure> {
        let queue = queue.ok_or_else(|| Failure::Settings(format!("set {variable}")))?;
        let send = self.sqs.send_message().queue_url(queue);
        let sent = send.message_body(body.to_string()).send().await;
        sent.map_err(|error| Failure::unavailable("SendMessage", &error))?;
        Ok(())
    }
}

/// Reads a request of a function URL, or the same JSON in a direct invocation.
fn picture(event: &Value) -> Result<PostedPhoto, Refused> {
    let refused = |error: serde_json::Error| {
        Refused(format!(
            "{error}; the body has to be {{\"request_id\": …, \"filename\": …, \"content\": <a picture in base64>}}"
        ))
    };
    if event.get("requestContext").is_none() {
        return PostedPhoto::deserialize(event).map_err(refused);
    }
    let request = LambdaFunctionUrlRequest::deserialize(event).map_err(refused)?;
    let method = request.request_context.http.method.as_deref();
    if method != Some("POST") {
        return Err(Refused("POST a picture".to_owned()));
    }
    let body = request.body.unwrap_or_default();
    let body = match request.is_base64_encoded {
        true => BASE64_STANDARD
            .decode(&body)
            .map_err(|error| Refused(format!("the body is no base64: {error}")))?,
        false => body.into_bytes(),
    };
    serde_json::from_slice(&body).map_err(refused)
}

/// Lossless, so that the name is that of the whole recognizer.
fn png(crop: FaceCrop) -> Vec<u8> {
    let side = crop.size as u32;
    let image =
        RgbImage::from_raw(side, side, crop.pixels).expect("a crop has three bytes a pixel");
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("a PNG is written to memory");
    bytes.into_inner()
}

fn http(status: u16, body: &Value) -> Value {
    json!({
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
}
