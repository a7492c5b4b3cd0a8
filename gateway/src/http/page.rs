//! The page for people: its files are part of the program, and need no key.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::not_found;

/// Embeds files of `gateway/src/page`, by their names there.
macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../page/", $name)))),*]
    };
}

/// All files of the page. The first one is served at `/`, the others below `/page/`.
const FILES: &[(&str, &[u8])] = embedded![
    "index.html",
    "answer.js",
    "app.js",
    "decisions.js",
    "dom.js",
    "fleet.css",
    "fleet.js",
    "format.js",
    "history.js",
    "icon.svg",
    "key.js",
    "photo.js",
    "recognize.js",
    "style.css",
    "timeline.js",
    "watch.js",
];

/// Only the page's own files and service, and the photos that its reader chooses.
const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
     media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// A file and its headers.
#[derive(Debug)]
struct PageFile {
    name: &'static str,
    bytes: &'static [u8],
    content_type: &'static str,
    /// Weak, since the response may be compressed.
    etag: HeaderValue,
}

static PAGE: LazyLock<Vec<PageFile>> = LazyLock::new(|| {
    let files = FILES.iter().map(|&(name, bytes)| {
        let digest = hex::encode(&Sha256::digest(bytes)[..16]);
        PageFile {
            name,
            bytes,
            content_type: content_type(name),
            etag: HeaderValue::try_from(format!("W/\"{digest}\"")).expect("it is hexadecimal"),
        }
    });
    files.collect()
});

/// Handles `GET /`.
pub async fn index(headers: HeaderMap) -> Response {
    PAGE[0].respond(&headers)
}

/// Handles `GET /page/{name}`.
pub async fn file(Path(name): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    match PAGE.iter().find(|file| file.name == name) {
        Some(file) => file.respond(&headers),
        None => not_found(uri, headers).await,
    }
}

impl PageFile {
    fn respond(&self, request: &HeaderMap) -> Response {
        let headers = [
            (ETAG, self.etag.clone()),
            // The browser keeps the file, and asks each time whether it is still the same.
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (
                CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(SECURITY_POLICY),
            ),
            (
                PERMISSIONS_POLICY,
                HeaderValue::from_static("camera=(self)"),
            ),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        if self.is_known_by(request) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, [(CONTENT_TYPE, self.content_type)], self.bytes).into_response()
    }

    /// Returns whether the client has this version (RFC 9110, 13.1.2).
    fn is_known_by(&self, request: &HeaderMap) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = self.etag.to_str().map(opaque).unwrap_or_default();
        let known = request.get_all(IF_NONE_MATCH).iter();
        let mut known = known
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        known.any(|tag| opaque(tag) == own || tag.trim() == "*")
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
        let mut found: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut embedded: Vec<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(embedded[0], "index.html");
        embedded.sort();
        found.sort();
        assert_eq!(found, embedded);
    }
}
