use std::time::Duration;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use bytes::{Bytes, BytesMut};
use proto::FileName;

use super::disposition::Disposition;
use crate::bounded_body::{BoundedBody, Rest};
use crate::byte_budget::{ByteBudget, ByteReservation};
use crate::error::{ErrorCode, RequestError};

/// The form field that holds the photo.
const FIELD: &str = "inputFile";
/// Bytes of a request besides the photo: headers of parts, and other fields, which are ignored.
const OTHER_BYTES: usize = 256 * 1024;

/// A photo as it was uploaded.
#[derive(Debug)]
pub struct Upload {
    pub file_name: FileName,
    pub image: Bytes,
    /// The image's bytes count against the budget for as long as this lives.
    pub reservation: ByteReservation,
}

#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    pub max_image_bytes: usize,
    pub timeout: Duration,
}

impl Upload {
    /// Reads the request's one photo. Never holds more than the limit of it.
    ///
    /// # Errors
    /// Whatever is wrong with the upload. The rest of it was read as far as is reasonable, so that the client gets to
    /// read why.
    pub async fn receive(
        request: Request,
        limits: UploadLimits,
        budget: &ByteBudget,
    ) -> Result<Self, RequestError> {
        let most = limits.max_image_bytes + OTHER_BYTES;
        if content_length(request.headers()).is_some_and(|length| length > most) {
            // A client that waits for "100 Continue" has sent nothing yet, and will not.
            if !request.headers().contains_key(EXPECT) {
                let body = request.into_body().into_data_stream();
                Rest::of(body).drain().await;
            }
            return Err(too_large(limits.max_image_bytes));
        }
        let (parts, body) = request.into_parts();
        let (body, rest) = BoundedBody::split(body, most);
        let reading = read(
            Request::from_parts(parts, body),
            limits.max_image_bytes,
            budget,
        );
        let read = tokio::time::timeout(limits.timeout, reading).await;
        let error = match read {
            Ok(Ok(upload)) => return Ok(upload),
            Ok(Err(error)) => error,
            Err(_) => {
                return Err(RequestError::new(
                    ErrorCode::UploadTooSlow,
                    "the upload took too long",
                ));
            }
        };
        let Ok(rest) = rest.await else {
            return Err(error);
        };
        let over_limit = rest.over_limit;
        rest.drain().await;
        Err(if over_limit {
            too_large(limits.max_image_bytes)
        } else {
            error
        })
    }
}

async fn read(
    request: Request,
    max_image_bytes: usize,
    budget: &ByteBudget,
) -> Result<Upload, RequestError> {
    let multipart = Multipart::from_request(request, &()).await;
    let mut multipart = multipart
        .map_err(|_| bad_request("the request is not multipart/form-data with a part inputFile"))?;
    let mut upload = None;
    while let Some(mut field) = multipart
        .next_field()
        .await
        .map_err(|error| damaged(&error))?
    {
        let disposition = Disposition::of_part(field.headers());
        if disposition.field() != Some(FIELD) {
            while field
                .chunk()
                .await
                .map_err(|error| damaged(&error))?
                .is_some()
            {}
            continue;
        }
        if upload.is_some() {
            return Err(bad_request("the request has more than one part inputFile"));
        }
        let file_name = disposition.file_name();
        let file_name =
            file_name.ok_or_else(|| bad_request("the part inputFile has no file name"))??;
        let (image, reservation) = read_image(field, max_image_bytes, budget).await?;
        upload = Some(Upload {
            file_name,
            image,
            reservation,
        });
    }
    upload.ok_or_else(|| bad_request("the request has no part inputFile"))
}

async fn read_image(
    mut field: Field<'_>,
    max_bytes: usize,
    budget: &ByteBudget,
) -> Result<(Bytes, ByteReservation), RequestError> {
    let mut image = BytesMut::new();
    let mut reservation = budget.reserve(0)?;
    while let Some(chunk) = field.chunk().await.map_err(|error| damaged(&error))? {
        if image.len() + chunk.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        reservation.add(budget.reserve(chunk.len())?);
        image.extend_from_slice(&chunk);
    }
    if image.is_empty() {
        return Err(bad_request("the file in the part inputFile is empty"));
    }
    Ok((image.freeze(), reservation))
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: usize) -> RequestError {
    RequestError::new(
        ErrorCode::TooLarge,
        format!("the photo is larger than {limit} bytes"),
    )
}

fn damaged(error: &MultipartError) -> RequestError {
    bad_request(&format!(
        "the multipart body is damaged: {}",
        error.body_text()
    ))
}

fn bad_request(message: &str) -> RequestError {
    RequestError::new(ErrorCode::BadRequest, message)
}
