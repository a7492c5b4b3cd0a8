//! The canonical form of a request, which the signature covers.

use std::fmt::Write;

use http::request::Parts;

use super::AuthError;
use super::credential::Signature;
use crate::percent_encoding::percent_encoded;

/// Returns method, path, query, signed headers and the body's hash in canonical form.
///
/// # Errors
/// `Mismatch` if a signed header is missing.
pub(super) fn canonical_request(
    request: &Parts,
    signature: &Signature,
    body_hash: &str,
) -> Result<String, AuthError> {
    let mut text = format!("{}\n", request.method);
    // All services but S3 encode the path a second time.
    let segments = request.uri.path().split('/').map(percent_encoded);
    text.push_str(&segments.collect::<Vec<_>>().join("/"));
    text.push('\n');
    text.push_str(&canonical_query(request.uri.query().unwrap_or_default()));
    text.push('\n');
    for name in &signature.signed_headers {
        let values: Vec<&str> = request
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        if values.is_empty() {
            return Err(AuthError::Mismatch);
        }
        let values: Vec<String> = values.into_iter().map(trimmed).collect();
        let _ = writeln!(text, "{name}:{}", values.join(","));
    }
    let _ = write!(
        text,
        "\n{}\n{body_hash}",
        signature.signed_headers.join(";")
    );
    Ok(text)
}

/// Returns the sorted parameters in canonical encoding, without the signature itself.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (recoded(name), recoded(value))
        })
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// Decodes a text and encodes it again: clients differ in which characters they encode.
fn recoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let mut ahead = rest.clone();
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = ahead;
            }
            (byte, ..) => bytes.push(byte),
        }
    }
    percent_encoded(bytes)
}

/// Returns a header's value with each run of spaces as one, and none around it.
fn trimmed(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
