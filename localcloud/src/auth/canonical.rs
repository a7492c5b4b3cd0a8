//! The canonical form of a request, which is what is signed.

use std::fmt::Write;

use http::request::Parts;

use super::AuthError;
use super::credential::Signature;

/// Method, path, query, signed headers and the body's hash, each in its one form.
pub(super) fn canonical_request(
    request: &Parts,
    signature: &Signature,
    body_hash: &str,
) -> Result<String, AuthError> {
    let mut text = format!("{}\n", request.method);
    // All services but S3 encode the path once more, as it came.
    encode(request.uri.path(), true, &mut text);
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

/// The parameters in order, each encoded in one way, without the signature itself.
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

/// Decodes a text and encodes it again in the canonical way; clients differ in what they leave as it is.
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
    let mut encoded = String::with_capacity(text.len());
    encode_bytes(&bytes, false, &mut encoded);
    encoded
}

fn encode(text: &str, is_path: bool, to: &mut String) {
    encode_bytes(text.as_bytes(), is_path, to);
}

fn encode_bytes(bytes: &[u8], is_path: bool, to: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                to.push(char::from(*byte))
            }
            b'/' if is_path => to.push('/'),
            byte => {
                let _ = write!(to, "%{byte:02X}");
            }
        }
    }
}

/// A header's value without spaces around it, and with one space for each run of them.
fn trimmed(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
