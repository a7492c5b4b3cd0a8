//! S3: the `s3s` protocol over a store of our own.

mod answer;
mod api;
mod aws_chunked;
mod caller;
mod checksums;
mod conditions;
mod encoding;
mod events;
mod failure;
mod notifications;
mod receive;
mod store;
mod target;
#[cfg(test)]
mod tests;
mod unsigned;

use std::io;
use std::path::Path;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::Range;
use s3s::route::S3Route;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3ErrorCode, S3Request, S3Response, S3Result};
use tracing::warn;

pub use caller::PeerAddress;
pub use target::Target;

use crate::account::ACCOUNT_ID;
use crate::clock::Clock;
use crate::config::{Authentication, Credentials};
use crate::sqs::Sqs;
use api::Api;
use caller::Caller;
use failure::failure;
use store::Store;

/// The S3 service of one account.
#[derive(Debug)]
pub struct S3 {
    service: S3Service,
    /// Whether signatures are looked at.
    verifies: bool,
}

impl S3 {
    /// A service over a folder of its own. Buckets may notify queues of `sqs`.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn new(
        folder: &Path,
        authentication: &Authentication,
        region: &str,
        clock: Clock,
        sqs: Arc<Sqs>,
    ) -> io::Result<Self> {
        let api = Api {
            store: Arc::new(Store::open_folder(folder, clock)?),
            sqs,
            region: region.to_owned(),
        };
        let mut builder = S3ServiceBuilder::new(api.clone());
        builder.set_route(BadRanges(S3ServiceBuilder::new(api).build()));
        if let Authentication::Keys(credentials) = authentication {
            builder.set_auth(OnlyKey(credentials.clone()));
            builder.set_access(Owners);
        }
        Ok(Self {
            service: builder.build(),
            verifies: matches!(authentication, Authentication::Keys(_)),
        })
    }

    /// Answers one request.
    pub async fn call(&self, target: &Target, request: Request<impl Into<Body>>) -> Response<Body> {
        let caller = Caller::of(request.uri(), request.headers(), request.extensions());
        let (mut parts, body) = request.into_parts();
        let mut body = body.into();
        parts.extensions.insert(caller.clone());
        let answered = if self.verifies {
            parts.extensions.insert(Verified);
            Ok(())
        } else {
            body = unsigned::strip(&mut parts, body);
            check_owners(&parts.headers)
        };
        let response = match answered {
            Ok(()) => self.service.call(Request::from_parts(parts, body)).await,
            Err(refused) => Ok(refused.to_http_response().unwrap_or_else(|_| broken())),
        };
        let response = response.unwrap_or_else(|error| {
            warn!(?error, action = target.action, "S3 request failed");
            broken()
        });
        answer::complete(response, target, &caller)
    }
}

/// The one key that there is.
#[derive(Debug)]
struct OnlyKey(Credentials);

#[async_trait::async_trait]
impl S3Auth for OnlyKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key {
            Ok(self.0.secret_key.as_str().into())
        } else {
            Err(failure(S3ErrorCode::InvalidAccessKeyId))
        }
    }
}

/// Who may do what: whoever signs may do anything, as long as they know whom they talk to.
#[derive(Debug)]
struct Owners;

#[async_trait::async_trait]
impl S3Access for Owners {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(failure(S3ErrorCode::AccessDenied));
        }
        check_owners(context.headers())
    }
}

/// A request may name the account that it expects its buckets to be of.
fn check_owners(headers: &HeaderMap) -> S3Result<()> {
    let names = [
        "x-amz-expected-bucket-owner",
        "x-amz-source-expected-bucket-owner",
    ];
    let mut expected = names.into_iter().filter_map(|name| headers.get(name));
    match expected.any(|owner| owner.as_bytes() != ACCOUNT_ID.as_bytes()) {
        true => Err(failure(S3ErrorCode::AccessDenied)),
        false => Ok(()),
    }
}

/// S3 answers the whole object where a range makes no sense, or there are several; `s3s` would refuse. Its signature
/// covers the header, which can be taken away only after that was verified.
struct BadRanges(S3Service);

#[async_trait::async_trait]
impl S3Route for BadRanges {
    fn is_match(
        &self,
        method: &Method,
        _uri: &Uri,
        headers: &HeaderMap,
        _extensions: &mut Extensions,
    ) -> bool {
        let Some(range) = headers.get(header::RANGE) else {
            return false;
        };
        let understood = range
            .to_str()
            .is_ok_and(|range| Range::parse(range).is_ok());
        !understood && (method == Method::GET || method == Method::HEAD)
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        // Without authentication there are no credentials to be had.
        let verifies = request.extensions.get::<Verified>().is_some();
        match verifies && request.credentials.is_none() {
            true => Err(failure(S3ErrorCode::AccessDenied)),
            false => check_owners(&request.headers),
        }
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let mut inner = Request::new(request.input);
        *inner.method_mut() = request.method;
        *inner.uri_mut() = request.uri;
        *inner.headers_mut() = request.headers;
        *inner.extensions_mut() = request.extensions;
        inner.headers_mut().remove(header::RANGE);
        inner.headers_mut().remove(header::AUTHORIZATION);
        if let Some(uri) = unsigned::without_signature(inner.uri()) {
            *inner.uri_mut() = uri;
        }
        let answered = self.0.call(inner).await;
        let (parts, body) = answered
            .map_err(|error| s3s::S3Error::with_source(S3ErrorCode::InternalError, error.into()))?
            .into_parts();
        let mut response = S3Response::with_headers(body, parts.headers);
        response.status = Some(parts.status);
        Ok(response)
    }
}

/// Marks requests whose signature is verified.
#[derive(Debug, Clone, Copy)]
struct Verified;

fn broken() -> Response<Body> {
    let mut response = Response::new(Body::from(
        "<Error><Code>InternalError</Code></Error>".to_owned(),
    ));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
