//! One port for all services: which one a request is for, and its answer in that service's protocol.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use s3s::Body;
use thiserror::Error;
use time::OffsetDateTime;

use crate::admin::FaultBoard;
use crate::auth::signed_service;
use crate::calls::{Calls, known_action};
use crate::clock::Clock;
use crate::config::Authentication;
use crate::ec2::{self, Ec2, Params};
use crate::faults::{Outcome, Service, When};
use crate::refusal::{Protocol, Refusal, sqs_json_error};
use crate::respond::{plain, request_id, respond, xml};
use crate::s3::{S3, Target};
use crate::sqs::{self, Sqs};
use crate::xml::Xml;

/// The services behind one port.
#[derive(Debug)]
pub struct Router {
    pub calls: Calls,
    pub clock: Clock,
    pub authentication: Authentication,
    pub faults: FaultBoard,
    pub s3: S3,
    pub sqs: Arc<Sqs>,
    pub ec2: Arc<Ec2>,
}

/// A fault: the client gets no answer, and its connection is reset.
#[derive(Debug, Error)]
#[error("a fault resets the connection")]
pub struct ConnectionReset;

type Answer = Result<Response<Body>, ConnectionReset>;

/// A request whose body was read.
struct Whole {
    parts: Parts,
    body: Bytes,
}

/// A batch of the largest messages, with room for the escapes of JSON.
const MOST_REQUEST_BYTES: usize = 8 * 1024 * 1024;
const SQS_TARGET: &str = "AmazonSQS.";
const SQS_VERSION: &str = "2012-11-05";

impl Router {
    /// Answers one request: of any service, or of the only one that its port serves.
    ///
    /// # Errors
    /// When the connection is to be reset. All other errors are answers.
    pub async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        only: Option<Service>,
    ) -> Answer {
        let signed_for = signed_service(&request);
        if signed_for.is_none() {
            let path = request.uri().path();
            match (request.method(), path) {
                (&Method::GET, "/healthz") => return Ok(plain(StatusCode::OK, "ok\n")),
                (&Method::GET, "/metrics") => {
                    let metrics = self.calls.prometheus() + &self.sqs.prometheus();
                    return Ok(plain(StatusCode::OK, metrics));
                }
                _ if path.starts_with("/_localcloud/") => {
                    return Ok(match read_body(request).await {
                        Ok(whole) => self.administer(&whole.parts, &whole.body),
                        Err(reason) => plain(StatusCode::BAD_REQUEST, format!("{reason}\n")),
                    });
                }
                _ => {}
            }
        }
        let service = match (only, signed_for.as_deref()) {
            (Some(only), _) => Some(only),
            (None, Some("s3")) => Some(Service::S3),
            (None, Some("sqs")) => Some(Service::Sqs),
            (None, Some("ec2")) => Some(Service::Ec2),
            (None, Some(other)) => return Ok(unknown_service(other)),
            (None, None) => service_of_unsigned(&request),
        };
        match service {
            Some(Service::S3) => self.answer_s3(request).await,
            Some(Service::Sqs) if sqs_target(&request).is_some() => {
                self.answer_sqs_json(request).await
            }
            _ => self.answer_form(request, service).await,
        }
    }

    async fn answer_s3(&self, request: Request<Incoming>) -> Answer {
        let Some(target) = Target::of(&request) else {
            self.calls.count("s3", "Other", StatusCode::BAD_REQUEST);
            let refusal = Refusal {
                code: "InvalidURI".to_owned(),
                status: StatusCode::BAD_REQUEST,
                message: "Couldn't parse the specified URI.".to_owned(),
            };
            return Ok(refusal.response(Protocol::S3));
        };
        self.meet_faults(Protocol::S3, target.action, self.s3.call(&target, request))
            .await
    }

    async fn answer_sqs_json(&self, request: Request<Incoming>) -> Answer {
        let action = sqs_target(&request).unwrap_or_default().to_owned();
        let known = known_action(&sqs::ACTIONS, &action);
        let base_url = base_url(&request);
        let whole = match self.admit(request, Protocol::SqsJson).await {
            Ok(whole) => whole,
            Err(refusal) => return Ok(self.refuse(&refusal, Protocol::SqsJson, known)),
        };
        let call = async {
            match self.sqs.call(&action, &whole.body, &base_url).await {
                Ok(body) => respond(
                    StatusCode::OK,
                    "application/x-amz-json-1.0",
                    Bytes::from(body),
                ),
                Err(error) => sqs_json_error(
                    error.status(),
                    error.shape(),
                    &format!("{};{}", error.query_code(), error.fault()),
                    &error.to_string(),
                ),
            }
        };
        self.meet_faults(Protocol::SqsJson, known, call).await
    }

    /// Answers a call of the query protocols, of EC2 and of older SQS clients.
    async fn answer_form(&self, request: Request<Incoming>, service: Option<Service>) -> Answer {
        let base_url = base_url(&request);
        let at_queue = is_queue_path(request.uri().path());
        let whole = match read_body(request).await {
            Ok(whole) => whole,
            Err(reason) => {
                let refusal = Refusal {
                    code: "InvalidRequest".to_owned(),
                    status: StatusCode::BAD_REQUEST,
                    message: reason,
                };
                return Ok(self.refuse(&refusal, Protocol::Ec2, "Unknown"));
            }
        };
        // Short calls may come as GET with their parameters in the query.
        let form = match whole.parts.uri.query() {
            Some(query) if whole.parts.method == Method::GET => query.as_bytes(),
            _ => &whole.body,
        };
        let parameter = |name: &str| form_parameter(form, name);
        let action = parameter("Action").unwrap_or_default();
        let is_sqs = match service {
            Some(service) => service == Service::Sqs,
            None => at_queue || parameter("Version").as_deref() == Some(SQS_VERSION),
        };
        let (protocol, known) = if is_sqs {
            (Protocol::SqsQuery, known_action(&sqs::ACTIONS, &action))
        } else {
            (Protocol::Ec2, known_action(&ec2::ACTIONS, &action))
        };
        if let Err(refusal) = self.verify(&whole, protocol) {
            return Ok(self.refuse(&refusal, protocol, known));
        }
        let call = async {
            if is_sqs {
                self.answer_sqs_query(form, whole.parts.uri.path(), &base_url)
                    .await
            } else {
                self.answer_ec2(form)
            }
        };
        self.meet_faults(protocol, known, call).await
    }

    async fn answer_sqs_query(&self, form: &[u8], path: &str, base_url: &str) -> Response<Body> {
        let request_id = request_id();
        let call = self.sqs.call_query(form, path, base_url, &request_id);
        let mut response = match call.await {
            Ok(document) => xml(StatusCode::OK, document),
            Err(error) => xml(
                error.status(),
                sqs::query_error(
                    error.fault(),
                    error.query_code(),
                    &error.to_string(),
                    &request_id,
                ),
            ),
        };
        let request_id =
            HeaderValue::from_str(&request_id).expect("a UUID is a valid header value");
        response
            .headers_mut()
            .insert("x-amzn-requestid", request_id);
        response
    }

    fn answer_ec2(&self, form: &[u8]) -> Response<Body> {
        let request_id = request_id();
        let result = Params::parse(form).and_then(|params| {
            let action = params.owned("Action").unwrap_or_default();
            self.ec2.call(&action, &params, &request_id)
        });
        match result {
            Ok(document) => xml(StatusCode::OK, document),
            Err(error) => xml(
                error.status(),
                Xml::error(error.code(), &error.to_string(), &request_id),
            ),
        }
    }

    /// Reads a request and lets it in, if it is signed as it should be.
    async fn admit(
        &self,
        request: Request<Incoming>,
        protocol: Protocol,
    ) -> Result<Whole, Refusal> {
        let whole = read_body(request).await.map_err(|reason| Refusal {
            code: "SerializationException".to_owned(),
            status: StatusCode::BAD_REQUEST,
            message: reason,
        })?;
        self.verify(&whole, protocol)?;
        Ok(whole)
    }

    fn verify(&self, whole: &Whole, protocol: Protocol) -> Result<(), Refusal> {
        let now = OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_millis(self.clock.now());
        self.authentication
            .verify(&whole.parts, &whole.body, protocol.service_name(), now)
            .map_err(|error| Refusal::of_auth(&error, protocol))
    }

    fn refuse(
        &self,
        refusal: &Refusal,
        protocol: Protocol,
        action: &'static str,
    ) -> Response<Body> {
        self.calls
            .count(protocol.service_name(), action, refusal.status);
        refusal.response(protocol)
    }

    /// Carries out a call, unless a fault strikes before it, and counts what became of it.
    async fn meet_faults(
        &self,
        protocol: Protocol,
        action: &'static str,
        call: impl Future<Output = Response<Body>>,
    ) -> Answer {
        let service = protocol.service();
        let verdict = self.faults.judge(service, action, self.clock.now());
        if !verdict.latency.is_zero() {
            tokio::time::sleep(verdict.latency).await;
        }
        let outcome = match verdict.outcome {
            Some((When::Before, outcome)) => Some(outcome),
            Some((When::After, outcome)) => {
                drop(call.await);
                Some(outcome)
            }
            None => {
                let response = call.await;
                self.calls
                    .count(protocol.service_name(), action, response.status());
                return Ok(response);
            }
        };
        match outcome {
            Some(Outcome::Error {
                code,
                status,
                message,
            }) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
                let refusal = Refusal {
                    code,
                    status,
                    message,
                };
                Ok(self.refuse(&refusal, protocol, action))
            }
            _ => {
                self.calls.count_reset(protocol.service_name(), action);
                Err(ConnectionReset)
            }
        }
    }
}

fn unknown_service(name: &str) -> Response<Body> {
    let message = format!("localcloud has no service {name:?}, only s3, sqs and ec2.");
    xml(
        StatusCode::BAD_REQUEST,
        Xml::error("InvalidAction", &message, &request_id()),
    )
}

/// The service of a request that says nothing of it in a signature: by its target header, its path and its form. None
/// for a call of a query protocol, whose parameters tell.
fn service_of_unsigned<B>(request: &Request<B>) -> Option<Service> {
    if sqs_target(request).is_some() {
        return Some(Service::Sqs);
    }
    let path = request.uri().path();
    if path != "/" && !is_queue_path(path) {
        return Some(Service::S3);
    }
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
    let has_action = || {
        let query = request.uri().query().unwrap_or_default();
        query.split('&').any(|pair| pair.starts_with("Action="))
    };
    match *request.method() {
        Method::POST if is_form => None,
        Method::GET if has_action() => None,
        _ => Some(Service::S3),
    }
}

fn sqs_target<B>(request: &Request<B>) -> Option<&str> {
    let target = request.headers().get("x-amz-target")?.to_str().ok()?;
    target.strip_prefix(SQS_TARGET)
}

fn is_queue_path(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(crate::account::ACCOUNT_ID))
        .is_some_and(|rest| rest.starts_with('/'))
}

fn form_parameter(form: &[u8], wanted: &str) -> Option<String> {
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = serde_urlencoded::from_bytes(form).ok()?;
    pairs
        .into_iter()
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| value.into_owned())
}

/// What queue URLs begin with: the address by which the client reached us.
fn base_url<B>(request: &Request<B>) -> String {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("localhost"))
}

async fn read_body(request: Request<Incoming>) -> Result<Whole, String> {
    let (parts, body) = request.into_parts();
    let collected = Limited::new(body, MOST_REQUEST_BYTES).collect().await;
    match collected {
        Ok(body) => Ok(Whole {
            parts,
            body: body.to_bytes(),
        }),
        Err(error) => Err(error.to_string()),
    }
}
