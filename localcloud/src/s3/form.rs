//! Browsers' forms: which requests are forms, what authentication needs of their fields, and the parts of their replies
//! that `s3s` leaves out.

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use s3s::{Body, S3ErrorCode, S3Result};

use super::MAX_FORM_FIELDS_BYTES;
use super::encoding::url_encode;
use super::failure::failure;
use super::target::{Target, bucket_of_host};
use crate::protocol::base_url;
use crate::xml::Xml;

/// The request of a form, an extension of its request.
#[derive(Debug, Clone)]
pub struct Form {
    /// Whether the request has a signature outside its form.
    pub is_signed_itself: bool,
    /// `None` until its file begins.
    fields: Option<Fields>,
    /// The address by which the client reached localcloud.
    base_url: String,
    stored: Arc<OnceLock<StoredFile>>,
}

/// Fields of usual forms: S3 takes no more than 20 KB of them.
const USUAL_FIELDS_BYTES: usize = 20 * 1024;

/// What authentication needs of the fields before the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Fields {
    is_signed: bool,
    session_token: Option<String>,
}

/// The object of a form's file.
#[derive(Debug)]
struct StoredFile {
    key: String,
    /// Without quotes.
    etag: String,
}

impl Form {
    /// Returns the form of a request, if it is one.
    pub fn of(parts: &Parts) -> Option<Self> {
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        let is_form = parts.method == Method::POST && kind.starts_with("multipart/form-data");
        is_form.then(|| Self {
            is_signed_itself: parts.headers.contains_key(header::AUTHORIZATION)
                || parts.uri.query().is_some(),
            fields: None,
            base_url: base_url(&parts.headers),
            stored: Arc::default(),
        })
    }

    /// Reads the fields before the file. Returns the whole body for `s3s`, which reads it again and does not hand out the
    /// session token.
    pub async fn read_fields(&mut self, body: Body) -> Body {
        let mut body = body.fuse();
        let (mut head, mut searched, mut broken) = (Vec::new(), 0, None);
        while self.fields.is_none()
            && head.len() < MAX_FORM_FIELDS_BYTES
            && let Some(chunk) = body.next().await
        {
            match chunk {
                Ok(bytes) => head.extend_from_slice(&bytes),
                Err(error) => {
                    broken = Some(Err(error));
                    break;
                }
            }
            // Chunks may be single bytes: a search after each would take the square of the time.
            if head.len() <= USUAL_FIELDS_BYTES || head.len() >= 2 * searched {
                searched = head.len();
                self.fields = fields_before_file(&String::from_utf8_lossy(&head));
            }
        }
        if self.fields.is_none() {
            self.fields = fields_before_file(&String::from_utf8_lossy(&head));
        }
        // One chunk, since `s3s` searches all that it has after each.
        let head = stream::iter([Ok(Bytes::from(head))]).chain(stream::iter(broken));
        Body::http_body(StreamBody::new(head.chain(body).map_ok(Frame::data)))
    }

    /// Checks that the form has a signature, which `s3s` verifies before it reads the file.
    ///
    /// # Errors
    /// `AccessDenied`, or `MalformedPOSTRequest` for a form without a file.
    pub fn check_signed(&self) -> S3Result<()> {
        match &self.fields {
            Some(fields) if fields.is_signed => Ok(()),
            Some(_) => Err(failure(S3ErrorCode::AccessDenied)),
            None => Err(failure(S3ErrorCode::MalformedPOSTRequest)),
        }
    }

    /// Returns the session token of the form's signer.
    pub fn session_token(&self) -> Option<&str> {
        self.fields.as_ref()?.session_token.as_deref()
    }

    /// Notes the object that the form has stored, with its entity tag without quotes.
    pub fn note_stored(&self, key: &str, etag: &str) {
        let _ = self.stored.set(StoredFile {
            key: key.to_owned(),
            etag: etag.to_owned(),
        });
    }

    /// Adds the object's address and entity tag to the reply.
    pub fn complete(&self, response: &mut Response<Body>, target: &Target) {
        let status = response.status();
        let Some(stored) = self.stored.get() else {
            return;
        };
        if status.is_client_error() || status.is_server_error() {
            return;
        }
        let etag = format!("\"{}\"", stored.etag);
        let location = self.address(target, &stored.key);
        if status == StatusCode::CREATED {
            let mut xml = Xml::document();
            xml.element("PostResponse", |xml| {
                xml.text("Location", &location);
                xml.text("Bucket", &target.bucket);
                xml.text("Key", &stored.key);
                xml.text("ETag", &etag);
            });
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::from(xml.into_text());
        }
        let mut headers = vec![(header::ETAG, etag)];
        // A redirect has a location of its own.
        if status != StatusCode::SEE_OTHER {
            headers.push((header::LOCATION, location));
        }
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
    }

    fn address(&self, target: &Target, key: &str) -> String {
        let (base, key) = (&self.base_url, url_encode(key).replace('+', "%20"));
        match bucket_of_host(base.trim_start_matches("http://")) {
            Some(_) => format!("{base}/{key}"),
            None => format!("{base}/{}/{key}", target.bucket),
        }
    }
}

/// Reads the fields before the file; `None` unless the file begins in `head`, the beginning of a form.
fn fields_before_file(head: &str) -> Option<Fields> {
    let (delimiter, rest) = head
        .strip_prefix("\r\n")
        .unwrap_or(head)
        .split_once("\r\n")?;
    let mut fields = Fields::default();
    for part in rest.split(&format!("\r\n{delimiter}\r\n")) {
        let (headers, value) = part.split_once("\r\n\r\n")?;
        // The field's name comes before that of a file.
        let (_, name) = headers.split_once("name=\"")?;
        let (name, _) = name.split_once('"')?;
        match name.to_ascii_lowercase().as_str() {
            "file" => return Some(fields),
            // Of version 4 and 2.
            "x-amz-signature" | "signature" => fields.is_signed = true,
            "x-amz-security-token" => fields.session_token = Some(value.to_owned()),
            _ => {}
        }
    }
    None
}
