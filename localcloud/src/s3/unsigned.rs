//! Removes signatures from requests, for a service that does not verify them.

use http::request::Parts;
use http::{HeaderValue, Uri, header};
use s3s::Body;

use super::aws_chunked::Decoder;

/// The query parameters of presigned URLs, with signatures of version 2 and 4.
const SIGNATURE_PARAMETERS: [&str; 10] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "Expires",
];

/// Removes the signature of a request, and decodes a body of signed chunks.
pub fn strip(parts: &mut Parts, body: Body) -> Body {
    parts.headers.remove(header::AUTHORIZATION);
    if let Some(uri) = without_signature(&parts.uri) {
        parts.uri = uri;
    }
    let payload = parts.headers.remove("x-amz-content-sha256");
    let chunked = payload.is_some_and(|payload| payload.as_bytes().starts_with(b"STREAMING-"));
    let length = parts.headers.get("x-amz-decoded-content-length");
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let (true, Some(length)) = (chunked, length) else {
        return body;
    };
    let (decoder, trailers) = Decoder::new(body, length);
    parts.extensions.insert(trailers);
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let stream: s3s::stream::DynByteStream = Box::pin(decoder);
    Body::from(stream)
}

/// Returns the URI without the parameters of a presigned URL; `None` without a query.
pub fn without_signature(uri: &Uri) -> Option<Uri> {
    let query = uri.query()?;
    let kept: Vec<_> = query
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !SIGNATURE_PARAMETERS.contains(&name)
        })
        .collect();
    let path_and_query = match kept.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), kept.join("&")),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}
