//! S3: the `s3s` protocol over localcloud's own store.

mod accesses;
mod api;
mod aws_chunked;
mod checksums;
mod conditions;
mod context;
mod encoding;
mod events;
mod failure;
mod form;
mod notifications;
mod receive;
mod response;
mod signature;
mod staging;
mod store;
mod tags;
mod target;
#[cfg(test)]
mod tests;
mod unsigned;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method};
use http::{Request, Response, StatusCode, Uri, header};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{Credentials, S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::{PostObjectInput, Range, Timestamp, TimestampFormat};
use s3s::route::S3Route;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use tokio::sync::Semaphore;
use tracing::warn;

pub use context::PeerAddress;
pub use target::Target;

use crate::account::ACCOUNT_ID;
use crate::auth::{AuthError, session_token};
use crate::clock::Clock;
use crate::iam::{Caller, Denied, Iam};
use crate::links::{EventTarget, ReadObjects};
use accesses::S3Call;
use api::Api;
use context::RequestContext;
use failure::{failure, failure_with};
use form::Form;
use store::Store;
use target::VirtualHosts;

/// The canonical user who owns every bucket and object.
const OWNER_ID: &str = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a";

/// The largest file of a signed form, which `s3s` reads into memory before the role that signed it is authorized.
const MAX_FORM_FILE_BYTES: u64 = 64 << 20;
/// The other fields of a form. AWS allows 20 KB; a chunk of the body may have the beginning of the file as well.
const MAX_FORM_FIELDS_BYTES: usize = 1 << 20;
/// The forms that are read at once.
const MAX_FORMS: usize = 4;

/// The S3 service of one account.
#[derive(Debug)]
pub struct S3 {
    service: S3Service,
    /// Handles forms alone.
    form_service: S3Service,
    store: Arc<Store>,
    iam: Arc<Iam>,
    /// Bounds the memory of forms.
    forms: Semaphore,
}

impl S3 {
    /// Opens the service in a folder. Buckets may notify the queues and the functions of other services.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn new(
        folder: &Path,
        iam: Arc<Iam>,
        region: &str,
        clock: Clock,
        queues: Arc<dyn EventTarget>,
        functions: Option<Arc<dyn EventTarget>>,
    ) -> io::Result<Self> {
        let store = Arc::new(Store::open_folder(folder, clock)?);
        let api = Api {
            store: Arc::clone(&store),
            queues,
            functions,
            region: region.to_owned(),
            iam: Arc::clone(&iam),
        };
        let permissions = Permissions(Arc::clone(&iam));
        let build = |config: S3Config| {
            let mut inner = S3ServiceBuilder::new(api.clone());
            inner.set_host(VirtualHosts);
            if iam.authenticates() {
                inner.set_auth(permissions.clone());
                inner.set_access(permissions.clone());
            }
            let mut builder = S3ServiceBuilder::new(api.clone());
            builder.set_host(VirtualHosts);
            builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
            builder.set_route(RefusedHeaders {
                inner: inner.build(),
                permissions: permissions.clone(),
            });
            if iam.authenticates() {
                builder.set_auth(permissions.clone());
                builder.set_access(permissions.clone());
            }
            builder.build()
        };
        let mut config = S3Config::default();
        config.post_object_max_file_size = MAX_FORM_FILE_BYTES;
        config.form_max_fields_size = MAX_FORM_FIELDS_BYTES;
        // A form may be signed at any time: its policy says how long it is valid.
        let mut form_config = config.clone();
        form_config.presigned_url_max_skew_time_secs = u32::MAX;
        let (service, form_service) = (build(config), build(form_config));
        Ok(Self {
            service,
            form_service,
            store,
            iam,
            forms: Semaphore::new(MAX_FORMS),
        })
    }

    /// Returns access to the objects for other services.
    pub fn objects(&self) -> Objects {
        Objects(Arc::clone(&self.store))
    }

    /// Handles one request.
    pub async fn call(&self, target: &Target, request: Request<impl Into<Body>>) -> Response<Body> {
        let context = RequestContext::of(request.uri(), request.headers(), request.extensions());
        let (mut parts, body) = request.into_parts();
        let mut body = body.into();
        parts.extensions.insert(context.clone());
        let mut form = Form::of(&parts);
        let _permit = match &mut form {
            Some(form) => {
                let permit = self.forms.acquire().await.ok();
                if self.iam.authenticates() {
                    body = form.read_fields(body).await;
                }
                parts.extensions.insert(form.clone());
                permit
            }
            None => None,
        };
        let service = match &form {
            Some(form) if !form.is_signed_itself => &self.form_service,
            _ => &self.service,
        };
        let checked = if self.iam.authenticates() {
            parts.extensions.insert(SignedTarget(target.clone()));
            let form = form.as_ref();
            signature::check(&parts).and_then(|()| form.map_or(Ok(()), Form::check_signed))
        } else {
            body = unsigned::strip(&mut parts, body);
            check_owners(&parts.headers)
        };
        let response = match checked {
            Ok(()) => service.call(Request::from_parts(parts, body)).await,
            Err(error) => Ok(error
                .to_http_response()
                .unwrap_or_else(|_| internal_error())),
        };
        let mut response = response.unwrap_or_else(|error| {
            warn!(?error, action = target.action, "S3 request failed");
            internal_error()
        });
        if let Some(form) = form {
            form.complete(&mut response, target);
        }
        response::complete(response, target, &context)
    }
}

/// The objects of a service.
#[derive(Debug)]
pub struct Objects(Arc<Store>);

impl ReadObjects for Objects {
    fn read(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let (object, file) = self.0.open(bucket, key).ok()?;
        let mut bytes = Vec::new();
        file.take(object.size).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Knows the access keys, and allows what their owners may do, in the account that the client expects.
#[derive(Debug, Clone)]
struct Permissions(Arc<Iam>);

impl Permissions {
    /// Returns the caller of a request whose signature is verified.
    fn identify(
        &self,
        credentials: Option<&Credentials>,
        token: Option<&str>,
        headers: &HeaderMap,
    ) -> S3Result<Caller> {
        let credentials = credentials.ok_or_else(|| failure(S3ErrorCode::AccessDenied))?;
        let identity = self.0.identify(&credentials.access_key, token);
        let caller = identity.map_err(|error| unidentified(&error))?.caller;
        check_owners(headers)?;
        Ok(caller)
    }
}

#[async_trait::async_trait]
impl S3Auth for Permissions {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.secret_of(access_key) {
            Some(secret_key) => Ok(secret_key.into()),
            None => Err(failure(S3ErrorCode::InvalidAccessKeyId)),
        }
    }
}

#[async_trait::async_trait]
impl S3Access for Permissions {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let is_form = context.s3_op().name() == "PostObject";
        // The route has identified the caller of a request that it passes on.
        let known = context.extensions_mut().get::<Caller>().cloned();
        let caller = match known {
            Some(caller) => caller,
            None => {
                let form = context.extensions_mut().get::<Form>().cloned();
                let token = match form.filter(|_| is_form) {
                    Some(form) => form.session_token().map(str::to_owned),
                    None => session_token(context.headers(), context.uri()),
                };
                self.identify(context.credentials(), token.as_deref(), context.headers())?
            }
        };
        let path = context.s3_path();
        let call = S3Call {
            operation: context.s3_op().name(),
            bucket: path.get_bucket_name().unwrap_or_default(),
            key: path.get_object_key().unwrap_or_default(),
            query: context.uri().query().unwrap_or_default(),
            headers: context.headers(),
        };
        // The key of a form is in its fields: `post_object` authorizes it.
        if matches!(caller, Caller::Role(_)) && !is_form {
            let allowed = self.0.authorize(&caller, &accesses::accesses(&call));
            allowed.map_err(|denied| access_denied(&denied))?;
        }
        context.extensions_mut().insert(caller);
        Ok(())
    }

    async fn post_object(&self, request: &mut S3Request<PostObjectInput>) -> S3Result<()> {
        let caller = request.extensions.get::<Caller>();
        let caller = caller.ok_or_else(|| failure(S3ErrorCode::AccessDenied))?;
        let input = &request.input;
        let fields = [
            ("x-amz-tagging", input.tagging.is_some()),
            ("x-amz-acl", input.acl.is_some()),
            ("if-match", input.if_match.is_some()),
        ];
        let given = fields.into_iter().filter(|(_, is_given)| *is_given);
        let headers = given.map(|(name, _)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(""))
        });
        let call = S3Call {
            operation: "PutObject",
            bucket: &input.bucket,
            key: &input.key,
            query: "",
            headers: &headers.collect(),
        };
        let allowed = self.0.authorize(caller, &accesses::accesses(&call));
        allowed.map_err(|denied| access_denied(&denied))
    }
}

fn unidentified(error: &AuthError) -> S3Error {
    failure(match error {
        AuthError::WrongToken => S3ErrorCode::InvalidToken,
        AuthError::ExpiredToken => S3ErrorCode::ExpiredToken,
        _ => S3ErrorCode::InvalidAccessKeyId,
    })
}

fn access_denied(denied: &Denied) -> S3Error {
    failure_with(S3ErrorCode::AccessDenied, denied.to_string())
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

/// Removes headers that `s3s` refuses and S3 does not: ranges that S3 ignores, which are malformed or several, and an
/// `Expires` that is no date, which the request's context keeps. The signature may cover the header, so a second service,
/// which takes the caller from here, authorizes and handles the request once its signature is verified.
struct RefusedHeaders {
    inner: S3Service,
    permissions: Permissions,
}

#[async_trait::async_trait]
impl S3Route for RefusedHeaders {
    fn is_match(
        &self,
        method: &Method,
        _uri: &Uri,
        headers: &HeaderMap,
        extensions: &mut Extensions,
    ) -> bool {
        let refuses = |name: HeaderName, is_read: fn(&str) -> bool| {
            let value = headers.get(name);
            value.is_some_and(|value| !value.to_str().is_ok_and(is_read))
        };
        match *method {
            Method::GET | Method::HEAD => refuses(header::RANGE, |it| Range::parse(it).is_ok()),
            // A form has its `Expires` in a field.
            Method::PUT | Method::POST if extensions.get::<Form>().is_none() => {
                refuses(header::EXPIRES, |it| {
                    Timestamp::parse(TimestampFormat::HttpDate, it).is_ok()
                })
            }
            _ => false,
        }
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        if self.permissions.0.authenticates() {
            let credentials = request.credentials.as_ref();
            let headers = &request.headers;
            let token = session_token(headers, &request.uri);
            let permissions = &self.permissions;
            let caller = permissions.identify(credentials, token.as_deref(), headers)?;
            request.extensions.insert(caller);
        }
        Ok(())
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let mut inner = Request::new(request.input);
        *inner.method_mut() = request.method;
        *inner.uri_mut() = request.uri;
        *inner.headers_mut() = request.headers;
        *inner.extensions_mut() = request.extensions;
        if let Some(trailers) = request.trailing_headers {
            inner.extensions_mut().insert(trailers);
        }
        let refused = match *inner.method() {
            Method::GET | Method::HEAD => header::RANGE,
            _ => header::EXPIRES,
        };
        inner.headers_mut().remove(refused);
        inner.headers_mut().remove(header::AUTHORIZATION);
        if let Some(uri) = unsigned::without_signature(inner.uri()) {
            *inner.uri_mut() = uri;
        }
        let response = self.inner.call(inner).await;
        let (parts, body) = response
            .map_err(|error| s3s::S3Error::with_source(S3ErrorCode::InternalError, error.into()))?
            .into_parts();
        let mut response = S3Response::with_headers(body, parts.headers);
        response.status = Some(parts.status);
        Ok(response)
    }
}

/// Marks the requests of a service that verifies signatures.
#[derive(Debug, Clone)]
struct SignedTarget(Target);

fn internal_error() -> Response<Body> {
    let mut response = Response::new(Body::from(
        "<Error><Code>InternalError</Code></Error>".to_owned(),
    ));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
