use std::time::Duration;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, HeaderValue};
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
    /// The request's bytes count against the budget for as long as this lives.
    pub reservation: Option<ByteReservation>,
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
            drain(request).await;
            return Err(too_large(limits.max_image_bytes));
        }
        let (parts, body) = request.into_parts();
        let (body, rest) = BoundedBody::split(body, most, budget);
        let reading = read(Request::from_parts(parts, body), limits.max_image_bytes);
        let read = tokio::time::timeout(limits.timeout, reading).await;
        let error = match read {
            Ok(Ok((file_name, image))) => {
                let reservation = rest.await.ok().and_then(|rest| rest.reservation);
                return Ok(Self {
                    file_name,
                    image,
                    reservation,
                });
            }
            Ok(Err(error)) => error,
            Err(_) => {
                return Err(RequestError::new(
                    ErrorCode::UploadTooSlow,
                    "the upload took too long",
                ));
            }
        };
        let Ok(mut rest) = rest.await else {
            return Err(error);
        };
        let (over_limit, refused) = (rest.over_limit, rest.refused.take());
        rest.drain().await;
        Err(match refused {
            Some(refused) => refused,
            None if over_limit => too_large(limits.max_image_bytes),
            None => error,
        })
    }
}

/// Reads the body of a refused request, within bounds, so that the client gets to read why.
pub async fn drain(request: Request) {
    // A client that waits for "100 Continue" has sent nothing yet, and will not.
    if !request.headers().contains_key(EXPECT) {
        Rest::of(request.into_body().into_data_stream())
            .drain()
            .await;
    }
}

async fn read(request: Request, max_image_bytes: usize) -> Result<(FileName, Bytes), RequestError> {
    let mut request = request;
    tidy_content_type(request.headers_mut())?;
    let multipart = Multipart::from_request(request, &()).await;
    let mut multipart = multipart.map_err(|_| not_multipart())?;
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
        upload = Some((file_name, read_image(field, max_image_bytes).await?));
    }
    upload.ok_or_else(|| bad_request("the request has no part inputFile"))
}

async fn read_image(mut field: Field<'_>, max_bytes: usize) -> Result<Bytes, RequestError> {
    let mut image = BytesMut::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| damaged(&error))? {
        if image.len() + chunk.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        image.extend_from_slice(&chunk);
    }
    if image.is_empty() {
        return Err(bad_request("the file in the part inputFile is empty"));
    }
    Ok(image.freeze())
}

/// Takes out the white space around semicolons that RFC 9110 (5.6.6) allows and the parser does not.
///
/// # Errors
/// When it is not multipart/form-data with a boundary.
fn tidy_content_type(headers: &mut HeaderMap) -> Result<(), RequestError> {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    // No boundary has a semicolon in it (RFC 2046, 5.1.1).
    let parts: Vec<&str> = given
        .unwrap_or_default()
        .split(';')
        .map(str::trim)
        .collect();
    if !parts[0].eq_ignore_ascii_case("multipart/form-data") {
        return Err(not_multipart());
    }
    let names_boundary = |part: &&str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        name.eq_ignore_ascii_case("boundary") && !value.is_empty()
    };
    if !parts.iter().any(names_boundary) {
        return Err(bad_request(
            "the Content-Type multipart/form-data names no boundary",
        ));
    }
    let tidy = HeaderValue::from_str(&parts.join("; ")).map_err(|_| not_multipart())?;
    headers.insert(CONTENT_TYPE, tidy);
    Ok(())
}

fn not_multipart() -> RequestError {
    bad_request("the request is not multipart/form-data with a part inputFile")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tidied(content_type: &'static str) -> Result<HeaderMap, String> {
        let value = HeaderValue::from_static(content_type);
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
        tidy_content_type(&mut headers).map_err(|error| error.message)?;
        Ok(headers)
    }

    #[test]
    fn white_space_around_semicolons_is_allowed() {
        for (given, tidy) in [
            (
                "multipart/form-data; boundary=frontier ; charset=utf-8",
                "multipart/form-data; boundary=frontier; charset=utf-8",
            ),
            (
                "multipart/form-data ; boundary=frontier",
                "multipart/form-data; boundary=frontier",
            ),
            (
                "Multipart/Form-Data;boundary=\"a b\"",
                "Multipart/Form-Data; boundary=\"a b\"",
            ),
        ] {
            assert_eq!(tidied(given).unwrap()[CONTENT_TYPE], tidy);
        }
    }

    #[test]
    fn a_missing_boundary_is_named() {
        for given in [
            "multipart/form-data",
            "multipart/form-data; charset=utf-8",
            "multipart/form-data; boundary=",
        ] {
            assert!(
                tidied(given).unwrap_err().contains("names no boundary"),
                "{given}"
            );
        }
        assert!(
            tidied("application/json")
                .unwrap_err()
                .contains("not multipart/form-data")
        );
    }
}
