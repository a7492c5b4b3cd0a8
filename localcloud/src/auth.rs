//! Verifies AWS Signature Version 4 for SQS and EC2; the `s3s` crate verifies S3's signatures.
//!
//! Written by hand: the `aws-sigv4` crate only signs.
//!
//! Source: "AWS Signature Version 4 for API requests",
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>.

mod canonical;
mod credential;
#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use time::{Duration, OffsetDateTime};

use canonical::canonical_request;

pub use credential::{Signature, session_token, signed_service};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthError {
    #[error("Request is missing Authentication Token")]
    Missing,
    #[error("{0}")]
    Incomplete(String),
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
    #[error("Credential should be scoped to correct service: '{0}'.")]
    Scope(&'static str),
    #[error("Signature expired: {0} is more than 15 minutes from the time of localcloud")]
    Skewed(String),
    #[error("Request has expired.")]
    Expired,
    /// The session token is missing, or another one.
    #[error("The security token included in the request is invalid.")]
    WrongToken,
    #[error("The security token included in the request is expired")]
    ExpiredToken,
}

/// The most by which the clocks of client and server may differ.
const MAX_SKEW: Duration = Duration::minutes(15);

impl Signature {
    /// Verifies the signature of a request to `service` with its whole body.
    ///
    /// # Errors
    /// When it is not made with the secret for this request, or not valid at `now`.
    pub fn verify(
        &self,
        request: &Parts,
        body: &[u8],
        service: &'static str,
        secret_key: &str,
        now: OffsetDateTime,
    ) -> Result<(), AuthError> {
        self.check_time(now)?;
        if self.service != service {
            return Err(AuthError::Scope(service));
        }
        if !self.signed_headers.iter().any(|name| name == "host") {
            return Err(AuthError::Incomplete(
                "'Host' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
            ));
        }
        let canonical = canonical_request(request, self, &hex::encode(Sha256::digest(body)))?;
        let text_to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.time_text,
            self.scope(),
            hex::encode(Sha256::digest(canonical))
        );
        let key = signing_key(secret_key, self);
        let expected = hex::encode(hmac(&key, text_to_sign.as_bytes()));
        match bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            true => Ok(()),
            false => Err(AuthError::Mismatch),
        }
    }

    fn check_time(&self, now: OffsetDateTime) -> Result<(), AuthError> {
        match self.expires {
            Some(lifetime) if now - self.time > lifetime => Err(AuthError::Expired),
            Some(_) if self.time <= now + MAX_SKEW => Ok(()),
            None if (self.time - now).abs() <= MAX_SKEW => Ok(()),
            _ => Err(AuthError::Skewed(self.time_text.clone())),
        }
    }
}

fn signing_key(secret_key: &str, signature: &Signature) -> [u8; 32] {
    let secret = format!("AWS4{secret_key}");
    [
        signature.date.as_str(),
        &signature.region,
        &signature.service,
        "aws4_request",
    ]
    .into_iter()
    .fold(None, |key: Option<[u8; 32]>, part| {
        let key = key.as_ref().map_or(secret.as_bytes(), <[u8; 32]>::as_slice);
        Some(hmac(key, part.as_bytes()))
    })
    .expect("the list of parts is not empty")
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}
