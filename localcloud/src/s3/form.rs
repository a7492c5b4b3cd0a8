//! Browsers' forms: which requests are forms, and the parts of their replies that `s3s` leaves out.

use std::sync::{Arc, OnceLock};

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use s3s::Body;

use super::encoding::url_encode;
use super::target::{Target, bucket_of_host};
use crate::protocol::base_url;
use crate::xml::Xml;

/// The request of a form, an extension of its request.
#[derive(Debug, Clone)]
pub struct Form {
    /// Whether the request has a signature outside its form.
    pub is_signed_itself: bool,
    /// The address by which the client reached localcloud.
    base_url: String,
    stored: Arc<OnceLock<StoredFile>>,
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
            base_url: base_url(&parts.headers),
            stored: Arc::default(),
        })
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
