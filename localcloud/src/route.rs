//! Which service and action a request is for. Pure: it reads the request's head, and the form of a query protocol.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, Method, Request, header};

use crate::account::ACCOUNT_ID;
use crate::account_calls::{CLOUDWATCH_ACTIONS, IAM_ACTIONS, STS_ACTIONS};
use crate::auth::signed_service;
use crate::ec2_actions;
use crate::lambda;
use crate::logs;
use crate::protocol::{AwsService, Protocol};
use crate::s3::Target;
use crate::sqs;

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    Health,
    Metrics,
    Admin,
    /// A call of S3; `None` if its path is not valid percent-encoded UTF-8.
    S3(Option<Target>),
    /// A call of a JSON protocol, whose header names the action.
    Json(Operation),
    /// A call of a query protocol. Its form names the action, and the service if it is `None` here.
    Query(Option<AwsService>),
    /// A call of Lambda, whose method and path name the action.
    Lambda(Operation),
    /// A request to a function's URL.
    FunctionUrl,
    /// A request signed for a service that localcloud does not have.
    UnknownService(String),
}

/// A protocol and the action that a request calls in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    pub protocol: Protocol,
    /// The name in the service's own list, or `Unknown`.
    pub action: &'static str,
}

/// What the target header begins with in the JSON protocols.
const TARGETS: [(&str, Protocol); 3] = [
    ("AmazonSQS.", Protocol::SqsJson),
    ("GraniteServiceVersion20100801.", Protocol::CloudWatchJson),
    ("Logs_20140328.", Protocol::LogsJson),
];
/// The versions that forms name, by protocol.
const VERSIONS: [(&str, Protocol); 4] = [
    ("2012-11-05", Protocol::SqsQuery),
    ("2010-05-08", Protocol::Iam),
    ("2011-06-15", Protocol::Sts),
    ("2010-08-01", Protocol::CloudWatchQuery),
];

impl Operation {
    /// Returns the operation of an action that may be unknown.
    pub fn named(protocol: Protocol, action: &str) -> Self {
        let known: &[&str] = match protocol.service() {
            AwsService::S3 => &[],
            AwsService::Sqs => &sqs::ACTIONS,
            AwsService::Ec2 => &ec2_actions::ALL,
            AwsService::Iam => &IAM_ACTIONS,
            AwsService::Sts => &STS_ACTIONS,
            AwsService::CloudWatch => &CLOUDWATCH_ACTIONS,
            AwsService::Logs => &logs::ACTIONS,
            AwsService::Lambda => &lambda::ACTIONS,
        };
        let action = known.iter().copied().find(|name| *name == action);
        Self {
            protocol,
            action: action.unwrap_or("Unknown"),
        }
    }

    /// Returns the operation that a form asks for. `service` is that of the route.
    pub fn of_form(form: &[u8], path: &str, service: Option<AwsService>) -> Self {
        let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> =
            serde_urlencoded::from_bytes(form).unwrap_or_default();
        let parameter = |wanted: &str| {
            let pair = pairs.iter().find(|(name, _)| name == wanted);
            pair.map_or("", |(_, value)| value)
        };
        let protocol = match service {
            Some(AwsService::Sqs) => Protocol::SqsQuery,
            Some(AwsService::Iam) => Protocol::Iam,
            Some(AwsService::Sts) => Protocol::Sts,
            Some(AwsService::CloudWatch) => Protocol::CloudWatchQuery,
            Some(AwsService::Logs) => Protocol::LogsJson,
            Some(AwsService::S3 | AwsService::Ec2 | AwsService::Lambda) => Protocol::Ec2,
            None if is_queue_path(path) => Protocol::SqsQuery,
            None => {
                let version = parameter("Version");
                let known = VERSIONS.iter().find(|(known, _)| *known == version);
                known.map_or(Protocol::Ec2, |(_, protocol)| *protocol)
            }
        };
        Self::named(protocol, parameter("Action"))
    }
}

/// Routes a request of a port that serves all services, or `only` one.
pub fn route<B>(request: &Request<B>, only: Option<AwsService>) -> Route {
    let path = request.uri().path();
    if only.is_none() && path.starts_with(lambda::URL_PATH) {
        return Route::FunctionUrl;
    }
    let signed_for = signed_service(request);
    if signed_for.is_none() {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => return Route::Health,
            (&Method::GET, "/metrics") => return Route::Metrics,
            (_, path) if path.starts_with("/_localcloud/") => return Route::Admin,
            _ => {}
        }
    }
    let service = match (only, signed_for) {
        (Some(only), _) => Some(only),
        (None, Some(name)) => match AwsService::of_name(&name) {
            None => return Route::UnknownService(name),
            known => known,
        },
        (None, None) => service_of_unsigned(request),
    };
    let target = json_target(request.headers());
    let target = target.filter(|(protocol, _)| Some(protocol.service()) == service);
    match (service, target) {
        (_, Some((protocol, action))) => Route::Json(Operation::named(protocol, action)),
        (Some(AwsService::S3), _) => Route::S3(Target::of(request)),
        (Some(AwsService::Logs), _) => Route::Json(Operation::named(Protocol::LogsJson, "")),
        (Some(AwsService::Lambda), _) => {
            let (action, _) = lambda::action_of(request.method(), path);
            Route::Lambda(Operation::named(Protocol::Lambda, action))
        }
        _ => Route::Query(service),
    }
}

/// Returns the JSON protocol and the action that the target header names.
fn json_target(headers: &HeaderMap) -> Option<(Protocol, &str)> {
    let target = headers.get("x-amz-target")?.to_str().ok()?;
    let mut known = TARGETS.into_iter();
    known.find_map(|(prefix, protocol)| Some((protocol, target.strip_prefix(prefix)?)))
}

/// Returns the action that the target header names in a JSON protocol. It is empty if the header names none.
pub fn json_action(headers: &HeaderMap, protocol: Protocol) -> &str {
    let target = json_target(headers).filter(|(named, _)| *named == protocol);
    target.map_or("", |(_, action)| action)
}

/// Returns the parameters of a query protocol. A short call may be a GET with its parameters in the URL.
pub fn form<'a>(parts: &'a Parts, body: &'a [u8]) -> &'a [u8] {
    match parts.uri.query() {
        Some(query) if parts.method == Method::GET => query.as_bytes(),
        _ => body,
    }
}

/// Returns the service of an unsigned request; `None` for a query protocol, whose form names it.
fn service_of_unsigned<B>(request: &Request<B>) -> Option<AwsService> {
    if let Some((protocol, _)) = json_target(request.headers()) {
        return Some(protocol.service());
    }
    let path = request.uri().path();
    if is_lambda_path(path) {
        return Some(AwsService::Lambda);
    }
    if path != "/" && !is_queue_path(path) {
        return Some(AwsService::S3);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_form = content_type.is_some_and(|content_type| {
        content_type
            .as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    let has_action = || {
        let query = request.uri().query().unwrap_or_default();
        query.split('&').any(|pair| pair.starts_with("Action="))
    };
    match *request.method() {
        Method::POST if is_form => None,
        Method::GET if has_action() => None,
        _ => Some(AwsService::S3),
    }
}

/// `/2015-03-31/functions` and the like. No bucket has such a name with such a key in it.
fn is_lambda_path(path: &str) -> bool {
    let Some((date, rest)) = path.trim_start_matches('/').split_once('/') else {
        return false;
    };
    let is_date = date.len() == 10 && date.bytes().all(|it| it.is_ascii_digit() || it == b'-');
    let kind = rest.split('/').next().unwrap_or_default();
    is_date
        && [
            "functions",
            "event-source-mappings",
            "tags",
            "account-settings",
        ]
        .contains(&kind)
}

fn is_queue_path(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(ACCOUNT_ID))
        .is_some_and(|rest| rest.starts_with('/'))
}
