//! What responses and events say about a request.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Extensions, HeaderMap, Uri, header};
use uuid::Uuid;

/// One request to S3.
#[derive(Debug, Clone, Default)]
pub struct RequestContext {
    pub request_id: String,
    /// `x-amz-id-2`.
    pub host_id: String,
    /// The key that signs the request; empty without a signature.
    pub access_key: String,
    /// The region that the request is signed for.
    pub region: Option<String>,
    /// The client's IP address; empty if unknown.
    pub address: String,
    /// Whether a browser shows the reply as a page.
    pub is_navigation: bool,
    /// The header `Expires`, which S3 takes as any text and `s3s` as a date.
    pub expires: Option<String>,
    /// The `Expires` of the object that is read, for the reply.
    pub stored_expires: Arc<OnceLock<String>>,
}

/// The address of the connection's peer, a request extension that the server sets.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub IpAddr);

impl RequestContext {
    /// Reads a request without verifying its signature.
    pub fn of(uri: &Uri, headers: &HeaderMap, extensions: &Extensions) -> Self {
        let [low, high] = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
        let scope = credential_scope(uri, headers).unwrap_or_default();
        let mut scope = scope.split('/');
        let peer = extensions.get::<PeerAddress>();
        let expires = headers.get(header::EXPIRES);
        let expires = expires.and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        Self {
            request_id: hex::encode_upper(&low[..8]),
            host_id: STANDARD.encode([low, high].concat()),
            access_key: scope.next().unwrap_or_default().to_owned(),
            region: scope.nth(1).map(str::to_owned),
            address: peer.map_or_else(String::new, |peer| peer.0.to_string()),
            is_navigation: is_navigation(headers),
            expires: expires.filter(|it| !it.is_empty()).map(str::to_owned),
            stored_expires: Arc::default(),
        }
    }
}

/// Returns whether a browser asks for a page or for a part of one, as far as it tells. Browsers tell by `Accept` alone at
/// addresses that they do not trust.
fn is_navigation(headers: &HeaderMap) -> bool {
    let has = |name: &str, values: &[&str]| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| values.contains(&value))
    };
    let accepted = headers.get(header::ACCEPT);
    has("sec-fetch-mode", &["navigate"])
        || has(
            "sec-fetch-dest",
            &["document", "iframe", "frame", "embed", "object"],
        )
        || accepted.is_some_and(|kinds| kinds.as_bytes().starts_with(b"text/html"))
}

/// Returns `KEY/DATE/REGION/SERVICE/aws4_request`.
fn credential_scope(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let text = authorization.to_str().ok()?;
        let (_, scope) = text.split_once("Credential=")?;
        return scope.split(',').next().map(str::to_owned);
    }
    let mut pairs = uri.query()?.split('&');
    let credential = pairs.find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
    Some(credential.replace("%2F", "/"))
}
