//! Reads a clip from a multipart body and passes it on in chunks.

use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart, Query, Request};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use proto::v1::submit_video_request::Part;
use proto::v1::{SubmitVideoRequest, VideoSettings};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::super::disposition::Disposition;
use super::super::upload::{
    self, FIELD, MAX_HEADER_BYTES, MAX_PARTS, OTHER_BYTES, bad_request, damaged,
};
use crate::discard::discard;
use crate::error::{ErrorCode, RequestError};

/// What the parser gets at once. It searches its whole buffer again for each piece, so that a client that sends byte by byte
/// would keep a core busy.
const PIECE: usize = 64 * 1024;
/// Of a field with a number.
const MAX_FIELD_BYTES: usize = 64;

/// A clip that is being uploaded.
#[derive(Debug)]
pub struct ClipUpload {
    multipart: Multipart,
    settings: ClipSettings,
    max_bytes: u64,
    parts: usize,
}

/// Settings in the query, or in fields before the clip.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct ClipSettings {
    /// Frames a second.
    fps: Option<f32>,
    /// Threshold for changes of scene.
    scene: Option<f32>,
}

impl ClipUpload {
    /// Checks the head of the request.
    ///
    /// # Errors
    /// When the request is malformed or too large. Its body was [discarded](discard), within limits.
    pub async fn begin(
        mut parts: Parts,
        body: BodyDataStream,
        max_bytes: u64,
    ) -> Result<Self, RequestError> {
        let most = max_bytes.saturating_add(OTHER_BYTES as u64);
        let length = upload::content_length(&parts.headers);
        let checked = if length.is_some_and(|length| length as u64 > most) {
            Err(too_large(max_bytes))
        } else {
            upload::normalize_content_type(&mut parts.headers).and_then(|()| {
                let query = Query::<ClipSettings>::try_from_uri(&parts.uri);
                query.map_err(|_| bad_request("fps and scene in the query are numbers"))
            })
        };
        let settings = match checked {
            Ok(Query(settings)) => settings,
            Err(error) => {
                upload::discard_unread(&parts.headers, body).await;
                return Err(error);
            }
        };
        let body = Body::from_stream(in_pieces(body, most));
        let request = Request::from_parts(parts, body);
        let multipart = Multipart::from_request(request, &()).await;
        Ok(Self {
            multipart: multipart.map_err(|_| upload::not_multipart())?,
            settings,
            max_bytes,
            parts: 0,
        })
    }

    /// Sends the settings, the clip, and its size. Stops early when the receiver is gone.
    pub async fn send(
        &mut self,
        sender: mpsc::Sender<SubmitVideoRequest>,
    ) -> Result<(), RequestError> {
        let mut sent = None;
        while let Some(field) = next_field(&mut self.multipart, &mut self.parts).await? {
            let disposition = Disposition::of_part(field.headers());
            match disposition.field() {
                Some("fps" | "scene") if sent.is_some() => {
                    return Err(bad_request(
                        "the fields fps and scene have to precede inputFile",
                    ));
                }
                Some("fps") => self.settings.fps = Some(number(field).await?),
                Some("scene") => self.settings.scene = Some(number(field).await?),
                Some(FIELD) if sent.is_some() => {
                    return Err(bad_request("the request has more than one part inputFile"));
                }
                Some(FIELD) => {
                    let file_name = disposition.file_name();
                    let file_name = file_name
                        .ok_or_else(|| bad_request("the part inputFile has no file name"))??;
                    let settings = Part::Settings(VideoSettings {
                        file_name: file_name.to_string(),
                        frames_per_second: self.settings.fps.unwrap_or_default(),
                        scene_threshold: self.settings.scene.unwrap_or_default(),
                    });
                    if !pass(&sender, settings).await {
                        return Ok(());
                    }
                    let Some(size) = send_clip(field, &sender, self.max_bytes).await? else {
                        return Ok(());
                    };
                    sent = Some(size);
                }
                _ => {}
            }
        }
        let size = sent.ok_or_else(|| bad_request("the request has no part inputFile"))?;
        pass(&sender, Part::Size(size)).await;
        Ok(())
    }

    /// Reads the rest of a refused upload, within limits.
    pub async fn discard(self) {
        let rest = stream::unfold(self.multipart, |mut multipart| async {
            let read = match multipart.next_field().await {
                Ok(Some(mut field)) => match field.chunk().await {
                    Ok(chunk) => chunk.unwrap_or_default(),
                    Err(_) => return None,
                },
                Ok(None) | Err(_) => return None,
            };
            Some((Ok::<_, std::convert::Infallible>(read), multipart))
        });
        discard(Body::from_stream(rest).into_data_stream()).await;
    }
}

async fn next_field<'a>(
    multipart: &'a mut Multipart,
    parts: &mut usize,
) -> Result<Option<Field<'a>>, RequestError> {
    *parts += 1;
    if *parts > MAX_PARTS + 1 {
        let message = format!("the request has more than {MAX_PARTS} parts");
        return Err(bad_request(&message));
    }
    let field = multipart
        .next_field()
        .await
        .map_err(|error| damaged(&error))?;
    let is_too_long = |field: &Field<'_>| upload::header_bytes(field.headers()) > MAX_HEADER_BYTES;
    if field.as_ref().is_some_and(is_too_long) {
        let message = format!("a part has headers of more than {MAX_HEADER_BYTES} bytes");
        return Err(bad_request(&message));
    }
    Ok(field)
}

/// Returns the clip's size, or nothing when the receiver is gone.
async fn send_clip(
    mut field: Field<'_>,
    sender: &mpsc::Sender<SubmitVideoRequest>,
    max_bytes: u64,
) -> Result<Option<u64>, RequestError> {
    let mut size = 0;
    while let Some(chunk) = field.chunk().await.map_err(|error| damaged(&error))? {
        size += chunk.len() as u64;
        if size > max_bytes {
            return Err(too_large(max_bytes));
        }
        if !pass(sender, Part::Chunk(chunk)).await {
            return Ok(None);
        }
    }
    if size == 0 {
        return Err(bad_request("the file in the part inputFile is empty"));
    }
    Ok(Some(size))
}

/// Returns `false` when the receiver is gone.
async fn pass(sender: &mpsc::Sender<SubmitVideoRequest>, part: Part) -> bool {
    let message = SubmitVideoRequest { part: Some(part) };
    sender.send(message).await.is_ok()
}

async fn number(mut field: Field<'_>) -> Result<f32, RequestError> {
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| damaged(&error))? {
        if text.len() + chunk.len() > MAX_FIELD_BYTES {
            return Err(bad_request("the fields fps and scene are numbers"));
        }
        text.extend_from_slice(&chunk);
    }
    let text = std::str::from_utf8(&text).unwrap_or_default();
    let number = text.trim().parse();
    number.map_err(|_| bad_request("the fields fps and scene are numbers"))
}

/// Joins a body's chunks into pieces of at least [`PIECE`] bytes, the last one aside. Ends with an error after `most` bytes.
fn in_pieces(
    body: BodyDataStream,
    most: u64,
) -> impl Stream<Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>> {
    stream::try_unfold((body, 0_u64), move |(mut body, mut total)| async move {
        let mut piece = BytesMut::new();
        while piece.len() < PIECE {
            match body.next().await {
                Some(chunk) => piece.extend_from_slice(&chunk?),
                None if piece.is_empty() => return Ok(None),
                None => break,
            }
        }
        total += piece.len() as u64;
        if total > most {
            return Err("the request is too large".into());
        }
        Ok(Some((piece.freeze(), (body, total))))
    })
}

fn too_large(limit: u64) -> RequestError {
    let message = format!("the clip is larger than {limit} bytes");
    RequestError::new(ErrorCode::TooLarge, message)
}
