//! One port for all services: which one a request is for, and its answer in that service's protocol.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use s3s::Body;
use uuid::Uuid;

use crate::calls::{Calls, known_action};
use crate::ec2::{self, Ec2, Params};
use crate::s3::{S3, Target};
use crate::sqs::{self, Sqs, SqsError};
use crate::xml::Xml;

/// The services behind one port.
#[derive(Debug)]
pub struct Router {
    pub calls: Calls,
    pub s3: S3,
    pub sqs: Sqs,
    pub ec2: Arc<Ec2>,
}

/// Which service a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    S3,
    Sqs,
    Ec2,
    Unknown,
}

/// A batch of the largest messages, with room for the escapes of JSON.
const MOST_REQUEST_BYTES: usize = 8 * 1024 * 1024;
const SQS_TARGET: &str = "AmazonSQS.";

impl Router {
    /// Answers one request. Never fails: errors are answers.
    ///
    /// # Errors
    /// None.
    pub async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let signed_for = signed_service(&request);
        if signed_for.is_none() && request.method() == Method::GET {
            match request.uri().path() {
                "/healthz" => return Ok(plain(StatusCode::OK, "ok\n")),
                "/metrics" => return Ok(plain(StatusCode::OK, self.calls.prometheus())),
                _ => {}
            }
        }
        let response = match service_of(signed_for.as_deref(), &request) {
            Service::S3 => self.answer_s3(request).await,
            Service::Sqs => self.answer_sqs(request).await,
            Service::Ec2 => self.answer_ec2(request).await,
            Service::Unknown => {
                let message = format!(
                    "localcloud has no service {:?}, only s3, sqs and ec2.",
                    signed_for.unwrap_or_default()
                );
                xml(
                    StatusCode::BAD_REQUEST,
                    Xml::error("InvalidAction", &message, &request_id()),
                )
            }
        };
        Ok(response)
    }

    async fn answer_s3(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(target) = Target::of(&request) else {
            self.calls.count("s3", "Other", StatusCode::BAD_REQUEST);
            return xml(
                StatusCode::BAD_REQUEST,
                Xml::error(
                    "InvalidURI",
                    "Couldn't parse the specified URI.",
                    &request_id(),
                ),
            );
        };
        let response = self.s3.call(&target, request).await;
        self.calls.count("s3", target.action, response.status());
        response
    }

    async fn answer_sqs(&self, request: Request<Incoming>) -> Response<Body> {
        let target = request
            .headers()
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok());
        let Some(action) = target
            .and_then(|target| target.strip_prefix(SQS_TARGET))
            .map(str::to_owned)
        else {
            return self.refuse_sqs_query();
        };
        let base_url = base_url(&request);
        let result = match read_body(request).await {
            Ok(body) => self.sqs.call(&action, &body, &base_url).await,
            Err(reason) => Err(SqsError::SerializationError(reason)),
        };
        let status = if result.is_ok() {
            StatusCode::OK
        } else {
            StatusCode::BAD_REQUEST
        };
        self.calls
            .count("sqs", known_action(&sqs::ACTIONS, &action), status);
        let (body, error) = match result {
            Ok(body) => (body, None),
            Err(error) => {
                let shape =
                    serde_json::json!({ "__type": error.shape(), "message": error.to_string() });
                (shape.to_string().into_bytes(), Some(error))
            }
        };
        let mut response = respond(status, "application/x-amz-json-1.0", Bytes::from(body));
        if let Some(error) = error {
            // Clients that grew up with the query protocol take the code from here.
            let code = HeaderValue::from_str(&format!("{};Sender", error.query_code()));
            response.headers_mut().insert(
                "x-amzn-query-error",
                code.expect("the codes are plain letters and dots"),
            );
        }
        response
    }

    fn refuse_sqs_query(&self) -> Response<Body> {
        self.calls.count("sqs", "Unknown", StatusCode::BAD_REQUEST);
        let mut document = Xml::document();
        document.element("ErrorResponse", |xml| {
            xml.element("Error", |xml| {
                xml.text("Type", "Sender");
                xml.text("Code", "InvalidAction");
                xml.text(
                    "Message",
                    "localcloud speaks the JSON protocol of SQS; update the client.",
                );
            });
            xml.text("RequestId", request_id());
        });
        xml(StatusCode::BAD_REQUEST, document.into_text())
    }

    async fn answer_ec2(&self, request: Request<Incoming>) -> Response<Body> {
        // Short calls may come as GET with their parameters in the query.
        let query = request
            .uri()
            .query()
            .map(str::to_owned)
            .filter(|_| request.method() == Method::GET);
        let body = match query {
            Some(query) => Ok(Bytes::from(query)),
            None => read_body(request).await,
        };
        match body {
            Ok(body) => self.answer_ec2_form(&body),
            Err(reason) => xml(
                StatusCode::BAD_REQUEST,
                Xml::error("InvalidRequest", &reason, &request_id()),
            ),
        }
    }

    fn answer_ec2_form(&self, body: &[u8]) -> Response<Body> {
        let request_id = request_id();
        let params = Params::parse(body);
        let action = params
            .as_ref()
            .ok()
            .and_then(|params| params.owned("Action"))
            .unwrap_or_default();
        let result = params.and_then(|params| self.ec2.call(&action, &params, &request_id));
        let (status, document) = match result {
            Ok(document) => (StatusCode::OK, document),
            Err(error) => (
                error.status(),
                Xml::error(error.code(), &error.to_string(), &request_id),
            ),
        };
        self.calls
            .count("ec2", known_action(&ec2::ACTIONS, &action), status);
        xml(status, document)
    }
}

fn service_of<B>(signed_for: Option<&str>, request: &Request<B>) -> Service {
    match signed_for {
        Some("s3") => return Service::S3,
        Some("sqs") => return Service::Sqs,
        Some("ec2") => return Service::Ec2,
        Some(_) => return Service::Unknown,
        None => {}
    }
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if header("x-amz-target").starts_with(SQS_TARGET) {
        return Service::Sqs;
    }
    let form = header("content-type").starts_with("application/x-www-form-urlencoded");
    let queue_path = request
        .uri()
        .path()
        .starts_with(&format!("/{}/", sqs::state::ACCOUNT_ID));
    match (request.method(), request.uri().path(), form) {
        (&Method::POST, _, true) if queue_path => Service::Sqs,
        // SQS's query protocol would come here as well; EC2 refuses its actions.
        (&Method::POST, "/", true) => Service::Ec2,
        _ => Service::S3,
    }
}

/// The service in the credential scope of a signature (`KEY/DATE/REGION/SERVICE/aws4_request`), which stands in the
/// Authorization header or, for a presigned URL, in the query.
fn signed_service<B>(request: &Request<B>) -> Option<String> {
    if let Some(authorization) = request.headers().get(header::AUTHORIZATION) {
        let authorization = authorization.to_str().ok()?;
        // The older signature, without a scope, is S3's.
        let scope = authorization
            .split_once("Credential=")
            .map(|(_, rest)| rest.split(',').next().unwrap_or_default());
        return Some(
            scope
                .map_or("s3", |scope| scope.rsplit('/').nth(1).unwrap_or_default())
                .to_owned(),
        );
    }
    let query = request.uri().query()?;
    let credential = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
    Some(
        credential
            .replace("%2F", "/")
            .rsplit('/')
            .nth(1)
            .unwrap_or_default()
            .to_owned(),
    )
}

/// What queue URLs begin with: the address by which the client reached us.
fn base_url<B>(request: &Request<B>) -> String {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("localhost"))
}

async fn read_body(request: Request<Incoming>) -> Result<Bytes, String> {
    let collected = Limited::new(request.into_body(), MOST_REQUEST_BYTES)
        .collect()
        .await;
    collected
        .map(|body| body.to_bytes())
        .map_err(|error| error.to_string())
}

fn request_id() -> String {
    Uuid::new_v4().to_string()
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn xml(status: StatusCode, document: String) -> Response<Body> {
    respond(status, "text/xml;charset=UTF-8", Bytes::from(document))
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let request_id = HeaderValue::from_str(&request_id()).expect("a UUID is a valid header value");
    response
        .headers_mut()
        .insert("x-amzn-requestid", request_id);
    response
}
