//! Reads the photo of a multipart upload, within limits.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use proto::FileName;

use super::disposition::Disposition;
use crate::byte_budget::{ByteBudget, ByteReservation};
use crate::discard::discard;
use crate::error::{ErrorCode, RequestError};

/// The form field that holds the photo or the clip.
pub(super) const FIELD: &str = "inputFile";
/// Bytes of a request besides the photo: headers of parts, and ignored fields.
pub(super) const OTHER_BYTES: usize = 256 * 1024;
/// Limits on what costs the parser far more than its bytes.
pub(super) const MAX_PARTS: usize = 100;
pub(super) const MAX_HEADER_BYTES: usize = 8 * 1024;

/// An uploaded photo.
#[derive(Debug)]
pub struct Upload {
    pub file_name: FileName,
    pub image: Bytes,
    /// Counts the request's bytes against the budget.
    pub reservation: ByteReservation,
}

#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    pub max_image_bytes: usize,
    pub timeout: Duration,
}

impl Upload {
    /// Reads the request's one photo. Never holds more than the limit.
    ///
    /// # Errors
    /// When the upload is malformed, too large or too slow. The rest of it was [discarded](discard), within limits.
    pub async fn receive(
        request: Request,
        limits: UploadLimits,
        budget: &ByteBudget,
    ) -> Result<Self, RequestError> {
        let (mut parts, body) = request.into_parts();
        let mut body = body.into_data_stream();
        if let Err(error) = check_head(&mut parts.headers, limits.max_image_bytes) {
            discard_unread(&parts.headers, body).await;
            return Err(error);
        }
        let whole = read_whole(&mut body, limits.max_image_bytes, budget);
        match tokio::time::timeout(limits.timeout, whole).await {
            Ok(Ok((whole, reservation))) => {
                let (file_name, image) = parse(parts, whole, limits.max_image_bytes).await?;
                Ok(Self {
                    file_name,
                    image,
                    reservation,
                })
            }
            Ok(Err(error)) => {
                discard(body).await;
                Err(error)
            }
            Err(_) => Err(too_slow()),
        }
    }
}

/// Discards the body of a request that was refused by its headers.
pub async fn discard_unread(headers: &HeaderMap, body: BodyDataStream) {
    // A client that waits for "100 Continue" will send nothing.
    if !headers.contains_key(EXPECT) {
        discard(body).await;
    }
}

/// Checks the headers.
fn check_head(headers: &mut HeaderMap, max_image_bytes: usize) -> Result<(), RequestError> {
    if content_length(headers).is_some_and(|length| length > max_image_bytes + OTHER_BYTES) {
        return Err(too_large(max_image_bytes));
    }
    normalize_content_type(headers)
}

/// Reads the body to its end, and counts it against the budget from its first byte.
///
/// The parser gets it in one piece. It searches its whole buffer again for each piece, so that a client that sends byte by
/// byte would keep a core busy.
async fn read_whole(
    body: &mut BodyDataStream,
    max_image_bytes: usize,
    budget: &ByteBudget,
) -> Result<(Bytes, ByteReservation), RequestError> {
    let mut reservation = budget.reserve(0)?;
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| bad_request("the upload broke off"))?;
        if whole.len() + chunk.len() > max_image_bytes + OTHER_BYTES {
            return Err(too_large(max_image_bytes));
        }
        reservation.add(budget.reserve(chunk.len())?);
        whole.extend_from_slice(&chunk);
    }
    Ok((whole.freeze(), reservation))
}

async fn parse(
    parts: Parts,
    body: Bytes,
    max_image_bytes: usize,
) -> Result<(FileName, Bytes), RequestError> {
    let request = Request::from_parts(parts, Body::from(body));
    let multipart = Multipart::from_request(request, &()).await;
    let mut multipart = multipart.map_err(|_| not_multipart())?;
    let mut upload = None;
    for _ in 0..=MAX_PARTS {
        let field = multipart.next_field().await;
        let Some(field) = field.map_err(|error| damaged(&error))? else {
            return upload.ok_or_else(|| bad_request("the request has no part inputFile"));
        };
        if header_bytes(field.headers()) > MAX_HEADER_BYTES {
            let message = format!("a part has headers of more than {MAX_HEADER_BYTES} bytes");
            return Err(bad_request(&message));
        }
        let disposition = Disposition::of_part(field.headers());
        if disposition.field() != Some(FIELD) {
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
    let message = format!("the request has more than {MAX_PARTS} parts");
    Err(bad_request(&message))
}

async fn read_image(field: Field<'_>, max_bytes: usize) -> Result<Bytes, RequestError> {
    let image = field.bytes().await.map_err(|error| damaged(&error))?;
    if image.len() > max_bytes {
        return Err(too_large(max_bytes));
    }
    if image.is_empty() {
        return Err(bad_request("the file in the part inputFile is empty"));
    }
    Ok(image)
}

pub(super) fn header_bytes(headers: &HeaderMap) -> usize {
    let lengths = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    lengths.sum()
}

/// Removes white space around semicolons, which RFC 9110 (5.6.6) allows and the parser refuses.
///
/// # Errors
/// When it is not multipart/form-data with a boundary.
pub(super) fn normalize_content_type(headers: &mut HeaderMap) -> Result<(), RequestError> {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    // A boundary has no semicolon (RFC 2046, 5.1.1).
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
    let normalized = HeaderValue::from_str(&parts.join("; ")).map_err(|_| not_multipart())?;
    headers.insert(CONTENT_TYPE, normalized);
    Ok(())
}

pub(super) fn not_multipart() -> RequestError {
    bad_request("the request is not multipart/form-data with a part inputFile")
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

pub(super) fn too_slow() -> RequestError {
    RequestError::new(ErrorCode::UploadTooSlow, "the upload took too long")
}

fn too_large(limit: usize) -> RequestError {
    RequestError::new(
        ErrorCode::TooLarge,
        format!("the photo is larger than {limit} bytes"),
    )
}

pub(super) fn damaged(error: &MultipartError) -> RequestError {
    bad_request(&format!(
        "the multipart body is damaged: {}",
        error.body_text()
    ))
}

pub(super) fn bad_request(message: &str) -> RequestError {
    RequestError::new(ErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(content_type: &'static str) -> Result<HeaderMap, String> {
        let value = HeaderValue::from_static(content_type);
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
        normalize_content_type(&mut headers).map_err(|error| error.message)?;
        Ok(headers)
    }

    const CONTENT: &str = "multipart/form-data; boundary=frontier";

    fn body(parts: &[(&str, &str)]) -> String {
        let parts = parts
            .iter()
            .map(|(headers, content)| format!("--frontier\r\n{headers}\r\n\r\n{content}\r\n"));
        parts.collect::<String>() + "--frontier--\r\n"
    }

    fn photo_part(file_name: &str) -> String {
        format!("Content-Disposition: form-data; name=inputFile; filename=\"{file_name}\"")
    }

    /// Receives `body` in pieces.
    async fn received(body: String, piece: usize) -> Result<Upload, String> {
        let body = Bytes::from(body);
        let pieces = (0..body.len()).step_by(piece);
        let pieces = pieces.map(move |at| body.slice(at..body.len().min(at + piece)));
        let pieces = futures::stream::iter(pieces).then(|piece| async {
            // The reader sees each piece alone.
            tokio::task::yield_now().await;
            Ok::<_, std::convert::Infallible>(piece)
        });
        let request = Request::post("/")
            .header(CONTENT_TYPE, CONTENT)
            .extension(axum::extract::DefaultBodyLimit::disable());
        let request = request.body(Body::from_stream(pieces)).unwrap();
        let limits = UploadLimits {
            max_image_bytes: 10 << 20,
            timeout: Duration::from_secs(60),
        };
        let received = Upload::receive(request, limits, &ByteBudget::new(64 << 20)).await;
        received.map_err(|error| error.message)
    }

    #[tokio::test]
    async fn an_upload_in_single_bytes_is_parsed_once() {
        let photo = "x".repeat(1 << 20);
        let upload = received(body(&[(&photo_part("a.jpg"), &photo)]), 1).await;
        assert_eq!(upload.unwrap().image, photo);
        // Without a boundary or an end of the headers. Searching at each piece would read 5 * 10^11 bytes.
        for head in ["", "--frontier\r\nX: "] {
            let endless = head.to_owned() + &photo;
            let refused = received(endless, 1).await.unwrap_err();
            assert!(refused.contains("multipart body is damaged"), "{refused}");
        }
    }

    #[tokio::test]
    async fn more_parts_than_a_hundred_are_refused() {
        let mut parts = vec![("X: y", ""); MAX_PARTS];
        let photo = photo_part("a.jpg");
        parts.push((&photo, "photo"));
        let refused = received(body(&parts), 1 << 20).await.unwrap_err();
        assert!(refused.contains("more than 100 parts"), "{refused}");
        let upload = received(body(&parts[1..]), 1 << 20).await.unwrap();
        assert_eq!(
            (upload.file_name.as_str(), &*upload.image),
            ("a.jpg", &b"photo"[..])
        );
    }

    #[tokio::test]
    async fn a_part_with_a_megabyte_of_headers_is_refused() {
        let headers = photo_part("a.jpg") + &";x=y".repeat(1 << 18);
        let refused = received(body(&[(&headers, "photo")]), 1 << 16).await;
        let refused = refused.unwrap_err();
        assert!(refused.contains("headers of more than"), "{refused}");
    }

    #[test]
    fn white_space_around_semicolons_is_allowed() {
        for (given, expected) in [
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
            assert_eq!(normalized(given).unwrap()[CONTENT_TYPE], expected);
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
                normalized(given).unwrap_err().contains("names no boundary"),
                "{given}"
            );
        }
        assert!(
            normalized("application/json")
                .unwrap_err()
                .contains("not multipart/form-data")
        );
    }
}
