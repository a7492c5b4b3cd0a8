//! Carries requests from the port to the services, through the layers that every call passes.

mod layers;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use s3s::Body;
use serde_json::Value;
use thiserror::Error;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::account_calls::{self, AccountCalls};
use crate::admin::Admin;
use crate::clock::Clock;
use crate::common_error::{CommonError, error_document, json_error};
use crate::ec2::{Ec2, Params};
use crate::fault_injection::FaultInjection;
use crate::iam::{Caller, Iam};
use crate::lambda::Lambda;
use crate::metrics::CallMetrics;
use crate::protocol::{AwsService, Protocol, base_url};
use crate::response::{plain, request_id, response, set_request_id, xml};
use crate::route::{Operation, Route, form, json_action, route};
use crate::s3::{S3, Target};
use crate::sqs::Sqs;
use crate::xml::Xml;

/// The services behind all ports.
#[derive(Debug)]
pub struct Services {
    pub s3: S3,
    pub sqs: Arc<Sqs>,
    pub ec2: Arc<Ec2>,
    pub account: Arc<AccountCalls>,
    pub lambda: Arc<Lambda>,
}

/// Dispatches requests to their services.
#[derive(Debug)]
pub struct Dispatcher {
    services: Arc<Services>,
    iam: Arc<Iam>,
    metrics: Arc<CallMetrics>,
    admin: Admin,
    calls: CallService,
}

/// An injected fault: the client gets no reply, and its connection is reset.
#[derive(Debug, Error)]
#[error("a fault resets the connection")]
pub struct ConnectionReset;

/// A reply, or the reset of the connection. All other errors are replies.
type DispatchResult = Result<Response<Body>, ConnectionReset>;

/// A service of calls, with the layers around it.
type CallService = BoxCloneSyncService<Call, Response<Body>, ConnectionReset>;

/// One call of an action.
struct Call {
    operation: Operation,
    input: Input,
    /// Of a call to S3, which authenticates by itself, the account.
    caller: Caller,
}

enum Input {
    /// S3 reads the body itself.
    Streamed(Target, Request<Body>),
    Read(Parts, Bytes),
}

/// The head and the body of a request, or the reason why it cannot be read.
type Read = Result<(Parts, Bytes), String>;

/// Room for a batch of the largest messages with the escapes of JSON.
const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Room for the largest zip file of a function in Base64.
const MAX_CODE_BYTES: usize = 72 * 1024 * 1024;

impl Dispatcher {
    pub fn new(
        services: Services,
        iam: Arc<Iam>,
        faults: Arc<FaultInjection>,
        clock: Clock,
    ) -> Self {
        let services = Arc::new(services);
        let metrics = Arc::new(CallMetrics::default());
        let target = Arc::clone(&services);
        let calls = ServiceBuilder::new()
            .layer(layers::count(Arc::clone(&metrics)))
            .layer(layers::authenticate(Arc::clone(&iam), clock))
            .layer(layers::authorize(Arc::clone(&iam), Arc::clone(&services)))
            .layer(layers::inject_faults(Arc::clone(&faults)))
            .service(BoxCloneSyncService::new(service_fn(move |call: Call| {
                let services = Arc::clone(&target);
                async move { Ok(services.call(call).await) }
            })));
        Self {
            admin: Admin::new(faults, Arc::clone(&services.ec2)),
            services,
            iam,
            metrics,
            calls,
        }
    }

    /// Handles one request of a port that serves all services, or `only` one.
    ///
    /// # Errors
    /// When an injected fault resets the connection.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        only: Option<AwsService>,
    ) -> DispatchResult {
        let call = match route(&request, only) {
            Route::Health => return Ok(plain(StatusCode::OK, "ok\n")),
            Route::Metrics => {
                let metrics = self.metrics.prometheus() + &self.services.sqs.prometheus();
                return Ok(plain(StatusCode::OK, metrics));
            }
            Route::Admin => {
                return Ok(match read_body(request, MAX_REQUEST_BYTES).await {
                    Ok((parts, body)) => self.admin.handle(&parts, &body),
                    Err(reason) => plain(StatusCode::BAD_REQUEST, format!("{reason}\n")),
                });
            }
            Route::UnknownService(name) => return Ok(unknown_service(&name)),
            Route::FunctionUrl => {
                return Ok(match read_body(request, MAX_REQUEST_BYTES).await {
                    Ok((parts, body)) => self.services.lambda.call_url(&parts, body).await,
                    Err(reason) => plain(StatusCode::PAYLOAD_TOO_LARGE, format!("{reason}\n")),
                });
            }
            Route::S3(None) => {
                let operation = Operation {
                    protocol: Protocol::S3,
                    action: "Other",
                };
                let reason = "Couldn't parse the specified URI.".to_owned();
                Call::of(Err(reason), operation, "InvalidURI")
            }
            Route::S3(Some(target)) => Ok(Call {
                operation: Operation {
                    protocol: Protocol::S3,
                    action: target.action,
                },
                input: Input::Streamed(target, request.map(Into::into)),
                caller: Caller::Account,
            }),
            Route::Lambda(operation) => {
                // Without a known access key there is no room for code.
                let (parts, body) = request.into_parts();
                let limit = match self.iam.knows_signer(&parts) {
                    true => MAX_CODE_BYTES,
                    false => MAX_REQUEST_BYTES,
                };
                let read = read_body(Request::from_parts(parts, body), limit).await;
                Call::of(read, operation, "RequestEntityTooLargeException")
            }
            Route::Json(operation) => {
                let read = read_body(request, MAX_REQUEST_BYTES).await;
                Call::of(read, operation, "SerializationException")
            }
            Route::Query(service) => {
                let read = read_body(request, MAX_REQUEST_BYTES).await;
                let operation = match &read {
                    Ok((parts, body)) => {
                        Operation::of_form(form(parts, body), parts.uri.path(), service)
                    }
                    Err(_) => Operation::named(Protocol::Ec2, ""),
                };
                Call::of(read, operation, "InvalidRequest")
            }
        };
        match call {
            Ok(call) => self.calls.clone().oneshot(call).await,
            Err((operation, error)) => {
                self.metrics.count(operation, Some(error.status));
                Ok(error.response(operation.protocol))
            }
        }
    }
}

impl Call {
    /// Returns the call of a request.
    ///
    /// # Errors
    /// `code`, and the operation that it is an error of, for a request that cannot be read.
    fn of(read: Read, operation: Operation, code: &str) -> Result<Self, (Operation, CommonError)> {
        let (parts, body) = read.map_err(|reason| {
            let error = CommonError::new(code, StatusCode::BAD_REQUEST, reason);
            (operation, error)
        })?;
        Ok(Self {
            operation,
            input: Input::Read(parts, body),
            caller: Caller::Account,
        })
    }
}

impl Services {
    async fn call(&self, call: Call) -> Response<Body> {
        match (call.operation.protocol, call.input) {
            (_, Input::Streamed(target, request)) => self.s3.call(&target, request).await,
            (Protocol::SqsJson, Input::Read(parts, body)) => self.sqs_json(&parts, &body).await,
            (Protocol::SqsQuery, Input::Read(parts, body)) => self.sqs_query(&parts, &body).await,
            (Protocol::S3 | Protocol::Ec2, Input::Read(parts, body)) => {
                self.ec2(call.operation.action, form(&parts, &body))
            }
            (Protocol::Lambda, Input::Read(parts, body)) => self.lambda(&parts, body).await,
            (protocol, Input::Read(parts, body)) => {
                self.account(protocol, &parts, &body, &call.caller)
            }
        }
    }

    async fn sqs_json(&self, parts: &Parts, body: &[u8]) -> Response<Body> {
        let action = json_action(&parts.headers, Protocol::SqsJson);
        match self.sqs.call(action, body, &base_url(&parts.headers)).await {
            Ok(body) => response(StatusCode::OK, "application/x-amz-json-1.0", body),
            Err(error) => json_error(
                error.status(),
                error.shape(),
                &format!("{};{}", error.query_code(), error.fault()),
                &error.to_string(),
            ),
        }
    }

    async fn sqs_query(&self, parts: &Parts, body: &[u8]) -> Response<Body> {
        let request_id = request_id();
        let (form, base_url) = (form(parts, body), base_url(&parts.headers));
        let call = self
            .sqs
            .call_query(form, parts.uri.path(), &base_url, &request_id);
        let mut response = match call.await {
            Ok(document) => xml(StatusCode::OK, document),
            Err(error) => {
                let (fault, code) = (error.fault(), error.query_code());
                let text = error.to_string();
                let document = error_document(Protocol::SqsQuery, fault, code, &text, &request_id);
                xml(error.status(), document)
            }
        };
        set_request_id(&mut response, &request_id);
        response
    }

    async fn lambda(&self, parts: &Parts, body: Bytes) -> Response<Body> {
        let reply = match self.lambda.call(parts, body).await {
            Ok(reply) => reply,
            Err(error) => return error.common().response(Protocol::Lambda),
        };
        let mut response = response(reply.status, "application/json", reply.body);
        for (name, value) in reply.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn account(
        &self,
        protocol: Protocol,
        parts: &Parts,
        body: &[u8],
        caller: &Caller,
    ) -> Response<Body> {
        let (action, request) = account_request(protocol, parts, body);
        let service = protocol.service();
        match self.account.call(service, &action, &request, caller) {
            Err(error) => error.response(protocol),
            Ok(reply) if is_json(protocol) => {
                let body = if reply.is_null() {
                    "{}".to_owned()
                } else {
                    reply.to_string()
                };
                response(StatusCode::OK, protocol.json_type(), body)
            }
            Ok(reply) => {
                let request_id = request_id();
                let document = account_calls::document(protocol, &action, &reply, &request_id);
                let mut response = xml(StatusCode::OK, document);
                set_request_id(&mut response, &request_id);
                response
            }
        }
    }

    /// Carries out the action that the layers authorized. The name of an unknown one is only for its error.
    fn ec2(&self, authorized: &str, form: &[u8]) -> Response<Body> {
        let request_id = request_id();
        let result = Params::parse(form).and_then(|params| {
            let action = match authorized {
                "Unknown" => params.get("Action").unwrap_or_default(),
                known => known,
            };
            self.ec2.call(action, &params, &request_id)
        });
        match result {
            Ok(document) => xml(StatusCode::OK, document),
            Err(error) => {
                let document = Xml::error(error.code(), &error.to_string(), &request_id);
                xml(error.status(), document)
            }
        }
    }
}

/// Returns the action and the parameters of a call about the account. What is not JSON is a call without parameters.
fn account_request(protocol: Protocol, parts: &Parts, body: &[u8]) -> (String, Value) {
    if is_json(protocol) {
        let action = json_action(&parts.headers, protocol).to_owned();
        return (action, serde_json::from_slice(body).unwrap_or_default());
    }
    let request = account_calls::request_of_form(form(parts, body));
    let action = request["Action"].as_str().unwrap_or_default().to_owned();
    (action, request)
}

fn is_json(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::CloudWatchJson | Protocol::LogsJson)
}

fn unknown_service(name: &str) -> Response<Body> {
    let message = format!(
        "localcloud has no service {name:?}, only s3, sqs, ec2, lambda, logs, iam, sts and cloudwatch."
    );
    let document = Xml::error("InvalidAction", &message, &request_id());
    xml(StatusCode::BAD_REQUEST, document)
}

async fn read_body(request: Request<Incoming>, limit: usize) -> Read {
    let (parts, body) = request.into_parts();
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok((parts, body.to_bytes())),
        Err(error) => Err(error.to_string()),
    }
}
