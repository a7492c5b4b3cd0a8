//! `POST /v1/videos` and `GET /v1/videos/<id>`: clips. A clip streams through; it is never held in memory.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream;
use platform::access::{called_with, presented_key};
use platform::telemetry::trace;
use platform::token::Token;
use proto::v1::{GetVideoRequest, SubmitVideoRequest, Video, VideoState};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::Instrument;
use tracing::field::{Empty, display};

use super::Gateway;
use super::recognize::{Failed, note_id};
use super::response::ResponseFormat;
use super::upload;
use crate::error::RequestError;
use crate::metric;
use clip_upload::ClipUpload;

mod clip_upload;

pub const PATH: &str = "/v1/videos";
/// Of a timeline: far more than the most frames with several faces each.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Bytes in memory for one clip: what the parser holds, and what is on its way to front.
const BYTES_IN_MEMORY: usize = 1 << 20;
/// Chunks on their way to front.
const CHUNKS: usize = 2;

#[derive(Debug, Serialize)]
struct VideoBody {
    id: String,
    file_name: String,
    state: &'static str,
    /// 0 until the clip is split.
    frames: u32,
    frames_done: u32,
    frames_failed: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureBody>,
}

#[derive(Debug, Serialize)]
struct FailureBody {
    code: &'static str,
    message: String,
}

/// Handles `POST /v1/videos`.
pub async fn submit(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let trace_id = trace::trace_id().map(display);
    let span = tracing::error_span!("request", request_id = Empty, trace_id);
    let handling = async {
        let format = ResponseFormat::accepted_by(request.headers());
        let submitted = gateway.submit(request).await;
        let outcome = submitted
            .as_ref()
            .map_or_else(|failed| failed.error.code.name(), |_| "ok");
        metric::HTTP_VIDEOS.of(outcome).increment(1);
        match submitted {
            Ok(video) => {
                note_id(&video.video_id);
                tracing::debug!("accepted a clip");
                let location = HeaderValue::try_from(format!("{PATH}/{}", video.video_id));
                let location = location.expect("an id is hexadecimal");
                let body = Json(VideoBody::of(video));
                (StatusCode::ACCEPTED, [(LOCATION, location)], body).into_response()
            }
            Err(failed) => refused(format, &failed),
        }
    };
    handling.instrument(span).await
}

/// Handles `GET /v1/videos/<id>`.
pub async fn find(
    State(gateway): State<Arc<Gateway>>,
    Path(video_id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let format = ResponseFormat::accepted_by(&headers);
    match gateway.find(video_id, &headers).await {
        Ok(video) => Json(VideoBody::of(video)).into_response(),
        Err(failed) => refused(format, &failed),
    }
}

fn refused(format: ResponseFormat, failed: &Failed) -> Response {
    let Failed { error, id } = failed;
    tracing::info!(code = error.code.name(), %error, "refused or failed");
    format.error(error, Some(*id))
}

impl Gateway {
    async fn submit(&self, request: Request) -> Result<Video, Failed> {
        let (parts, body) = request.into_parts();
        let body = body.into_data_stream();
        if let Err(error) = self.admit(&parts.headers) {
            upload::discard_unread(&parts.headers, body).await;
            return Err(error.into());
        }
        let reservation = match self.budget.reserve(BYTES_IN_MEMORY) {
            Ok(reservation) => reservation,
            Err(error) => {
                upload::discard_unread(&parts.headers, body).await;
                return Err(error.into());
            }
        };
        let key = presented_key(&parts.headers).and_then(|key| Token::parse(key).ok());
        let limit = self.config.max_clip_bytes;
        let mut clip = ClipUpload::begin(parts, body, limit).await?;
        let (sender, receiver) = mpsc::channel::<SubmitVideoRequest>(CHUNKS);
        let messages = stream::unfold(receiver, |mut receiver| async {
            let message = receiver.recv().await?;
            Some((message, receiver))
        });
        let timeout = self.config.clip_upload_timeout;
        // Front checks the key again.
        let mut call = called_with(key.as_ref(), messages);
        call.set_timeout(timeout + self.config.deadline);
        if let Some(parent) = trace::traceparent() {
            let parent = parent.parse().expect("it is hexadecimal");
            call.metadata_mut().insert(trace::TRACEPARENT, parent);
        }
        let mut front = self.videos.clone();
        let answer = {
            let calling = front.submit_video(call);
            let sending = tokio::time::timeout(timeout, clip.send(sender));
            tokio::pin!(calling, sending);
            tokio::select! {
                answer = &mut calling => answer.map_err(Failed::from),
                sent = &mut sending => match sent.unwrap_or_else(|_| Err(upload::too_slow())) {
                    Ok(()) => calling.await.map_err(Failed::from),
                    // Without the clip's size, front takes the upload as broken off.
                    Err(error) => Err(error.into()),
                },
            }
        };
        drop(reservation);
        if answer.is_err() {
            clip.discard().await;
        }
        Ok(answer?.into_inner())
    }

    async fn find(&self, video_id: String, headers: &HeaderMap) -> Result<Video, Failed> {
        self.admit(headers)?;
        let key = presented_key(headers).and_then(|key| Token::parse(key).ok());
        let mut call = called_with(key.as_ref(), GetVideoRequest { video_id });
        call.set_timeout(self.config.deadline);
        Ok(self.videos.clone().get_video(call).await?.into_inner())
    }
}

impl VideoBody {
    fn of(video: Video) -> Self {
        let state = match video.state() {
            VideoState::Recognizing => "recognizing",
            VideoState::Done => "done",
            VideoState::Failed => "failed",
            VideoState::Unspecified | VideoState::Splitting => "splitting",
        };
        Self {
            id: video.video_id,
            file_name: video.file_name,
            state,
            frames: video.frames,
            frames_done: video.frames_done,
            frames_failed: video.frames_failed,
            // Protobuf's JSON, as it is stored.
            timeline: video
                .timeline
                .and_then(|timeline| serde_json::from_str(&proto::encode(&timeline)).ok()),
            failure: video.failure.map(|failure| {
                let error = RequestError::from(failure);
                FailureBody {
                    code: error.code.name(),
                    message: error.message,
                }
            }),
        }
    }
}
