//! S3: the `s3s` protocol over localcloud's own store.

mod api;
mod aws_chunked;
mod checksums;
mod conditions;
mod context;
mod encoding;
mod events;
mod failure;
mod notifications;
mod receive;
mod response;
mod staging;
mod store;
mod tags;
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

pub use context::PeerAddress;
pub use target::Target;

use crate::account::ACCOUNT_ID;
use crate::clock::Clock;
use crate::config::{Authentication, Credentials};
use crate::sqs::Sqs;
use api::Api;
use context::RequestContext;
use failure::failure;
use store::Store;

/// The canonical user who owns every bucket and object.
const OWNER_ID: &str = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a";

/// The S3 service of one account.
#[derive(Debug)]
pub struct S3 {
    service: S3Service,
    verifies_signatures: bool,
}

impl S3 {
    /// Opens the service in a folder. Buckets may notify queues of `sqs`.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
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
        builder.set_route(IgnoredRanges(S3ServiceBuilder::new(api).build()));
        if let Authentication::Keys(credentials) = authentication {
            builder.set_auth(SingleKey(credentials.clone()));
            builder.set_access(SignedRequests);
        }
        Ok(Self {
            service: builder.build(),
            verifies_signatures: matches!(authentication, Authentication::Keys(_)),
        })
    }

    /// Handles one request.
    pub async fn call(&self, target: &Target, request: Request<impl Into<Body>>) -> Response<Body> {
        let context = RequestContext::of(request.uri(), request.headers(), request.extensions());
        let (mut parts, body) = request.into_parts();
        let mut body = body.into();
        parts.extensions.insert(context.clone());
        let checked = if self.verifies_signatures {
            parts.extensions.insert(SignatureRequired);
            Ok(())
        } else {
            body = unsigned::strip(&mut parts, body);
            check_owners(&parts.headers)
        };
        let response = match checked {
            Ok(()) => self.service.call(Request::from_parts(parts, body)).await,
            Err(error) => Ok(error
                .to_http_response()
                .unwrap_or_else(|_| internal_error())),
        };
        let response = response.unwrap_or_else(|error| {
            warn!(?error, action = target.action, "S3 request failed");
            internal_error()
        });
        response::complete(response, target, &context)
    }
}

/// Knows one access key.
#[derive(Debug)]
struct SingleKey(Credentials);

#[async_trait::async_trait]
impl S3Auth for SingleKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key {
            Ok(self.0.secret_key.as_str().into())
        } else {
            Err(failure(S3ErrorCode::InvalidAccessKeyId))
        }
    }
}

/// Allows every signed request of the account that the client expects.
#[derive(Debug)]
struct SignedRequests;

#[async_trait::async_trait]
impl S3Access for SignedRequests {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(failure(S3ErrorCode::AccessDenied));
        }
        check_owners(context.headers())
    }
}

/// Checks the account that a request expects to own its buckets.
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

/// Removes ranges that S3 ignores and `s3s` refuses: malformed ones and lists of several. The signature may cover the
/// header, so a second service without authentication handles the request once its signature is verified.
struct IgnoredRanges(S3Service);

#[async_trait::async_trait]
impl S3Route for IgnoredRanges {
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
        let is_supported = range
            .to_str()
            .is_ok_and(|range| Range::parse(range).is_ok());
        !is_supported && (method == Method::GET || method == Method::HEAD)
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let must_be_signed = request.extensions.get::<SignatureRequired>().is_some();
        match must_be_signed && request.credentials.is_none() {
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
        let response = self.0.call(inner).await;
        let (parts, body) = response
            .map_err(|error| s3s::S3Error::with_source(S3ErrorCode::InternalError, error.into()))?
            .into_parts();
        let mut response = S3Response::with_headers(body, parts.headers);
        response.status = Some(parts.status);
        Ok(response)
    }
}

/// Marks the requests of a service that verifies signatures.
#[derive(Debug, Clone, Copy)]
struct SignatureRequired;

fn internal_error() -> Response<Body> {
    let mut response = Response::new(Body::from(
        "<Error><Code>InternalError</Code></Error>".to_owned(),
    ));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
