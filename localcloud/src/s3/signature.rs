//! The checks of a signature that `s3s` leaves out.

use http::request::Parts;
use http::{HeaderName, StatusCode, header};
use s3s::{S3ErrorCode, S3Result};

use super::failure::{custom, failure_with};

/// A week, the longest lifetime of a presigned URL.
const MAX_LIFETIME_SECONDS: u32 = 604_800;

/// Checks that a signature covers all `x-amz-*` headers, which would change what it allows, and that a presigned URL has a
/// lifetime that AWS accepts. Does not verify the signature.
///
/// # Errors
/// `AccessDenied`, `AuthorizationQueryParametersError`.
pub fn check(parts: &Parts) -> S3Result<()> {
    let query = parts.uri.query().unwrap_or_default();
    // s3s decodes the names of parameters.
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    let parameter = |wanted: &str| {
        let pair = pairs.iter().find(|(name, _)| name == wanted);
        pair.map(|(_, value)| value.as_str())
    };
    if parameter("X-Amz-Signature").is_some() {
        let lifetime: Option<u32> = parameter("X-Amz-Expires").and_then(|text| text.parse().ok());
        if lifetime.is_none_or(|seconds| !(1..=MAX_LIFETIME_SECONDS).contains(&seconds)) {
            return Err(custom(
                StatusCode::BAD_REQUEST,
                "AuthorizationQueryParametersError",
                "X-Amz-Expires must be from 1 to 604800.",
            ));
        }
        check_headers(parts, parameter("X-Amz-SignedHeaders").unwrap_or_default())?;
    }
    // A request may have both kinds of signatures, and s3s verifies only one of them.
    let authorization = parts.headers.get(header::AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok());
    let fields = authorization.and_then(|text| text.split_once("SignedHeaders="));
    match fields {
        Some((_, rest)) => check_headers(parts, rest.split(',').next().unwrap_or_default()),
        None => Ok(()),
    }
}

fn check_headers(parts: &Parts, signed: &str) -> S3Result<()> {
    let is_signed = |name: &str| signed.split(';').any(|one| one == name);
    let mut names = parts.headers.keys().map(HeaderName::as_str);
    match names.any(|name| name.starts_with("x-amz-") && !is_signed(name)) {
        true => Err(failure_with(
            S3ErrorCode::AccessDenied,
            "There were headers present in the request which were not signed",
        )),
        false => Ok(()),
    }
}
