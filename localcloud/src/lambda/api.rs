//! The calls: paths, headers and JSON to the service's state, and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

use super::function::{Function, name_of};
use super::urls::FunctionUrl;
use super::{Entry, Lambda, LambdaError};

/// AWS's limits on payloads, in bytes.
const MAX_SYNCHRONOUS: usize = 6 << 20;
const MAX_ASYNCHRONOUS: usize = 1 << 20;

/// The actions, for metrics and policies.
pub const ACTIONS: [&str; 37] = [
    "AddPermission",
    "CreateEventSourceMapping",
    "CreateFunction",
    "CreateFunctionUrlConfig",
    "DeleteEventSourceMapping",
    "DeleteFunction",
    "DeleteFunctionConcurrency",
    "DeleteFunctionEventInvokeConfig",
    "DeleteFunctionUrlConfig",
    "GetAccountSettings",
    "GetEventSourceMapping",
    "GetFunction",
    "GetFunctionCodeSigningConfig",
    "GetFunctionConcurrency",
    "GetFunctionConfiguration",
    "GetFunctionEventInvokeConfig",
    "GetFunctionUrlConfig",
    "GetPolicy",
    "Invoke",
    "ListEventSourceMappings",
    "ListFunctionEventInvokeConfigs",
    "ListFunctionUrlConfigs",
    "ListFunctions",
    "ListTags",
    "ListVersionsByFunction",
    "PublishVersion",
    "PutFunctionConcurrency",
    "PutFunctionEventInvokeConfig",
    "RemovePermission",
    "TagResource",
    "UntagResource",
    "UpdateEventSourceMapping",
    "UpdateFunctionCode",
    "UpdateFunctionConfiguration",
    "UpdateFunctionEventInvokeConfig",
    "UpdateFunctionUrlConfig",
    "Unknown",
];

/// A successful response.
#[derive(Debug)]
pub struct LambdaReply {
    pub status: StatusCode,
    pub body: Bytes,
    pub headers: Vec<(&'static str, String)>,
}

impl LambdaReply {
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string().into(),
            headers: Vec::new(),
        }
    }

    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            body: Bytes::new(),
            headers: Vec::new(),
        }
    }
}

/// Returns the action of a request, and the name in its path: of a function, a mapping, or a resource by its ARN.
pub fn action_of(method: &Method, path: &str) -> (&'static str, String) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is = |wanted: &str| method.as_str() == wanted;
    let name = parts.get(2).copied().unwrap_or_default();
    let action = match parts.get(1..).unwrap_or_default() {
        ["functions"] if is("GET") => "ListFunctions",
        ["functions"] if is("POST") => "CreateFunction",
        ["functions", _] if is("GET") => "GetFunction",
        ["functions", _] if is("DELETE") => "DeleteFunction",
        ["functions", _, "code"] if is("PUT") => "UpdateFunctionCode",
        ["functions", _, "code-signing-config"] if is("GET") => "GetFunctionCodeSigningConfig",
        ["functions", _, "configuration"] if is("GET") => "GetFunctionConfiguration",
        ["functions", _, "configuration"] if is("PUT") => "UpdateFunctionConfiguration",
        ["functions", _, "invocations"] if is("POST") => "Invoke",
        ["functions", _, "versions"] if is("GET") => "ListVersionsByFunction",
        ["functions", _, "versions"] if is("POST") => "PublishVersion",
        ["functions", _, "policy"] if is("GET") => "GetPolicy",
        ["functions", _, "policy"] if is("POST") => "AddPermission",
        ["functions", _, "policy", _] if is("DELETE") => "RemovePermission",
        ["functions", _, "url"] if is("GET") => "GetFunctionUrlConfig",
        ["functions", _, "url"] if is("POST") => "CreateFunctionUrlConfig",
        ["functions", _, "url"] if is("PUT") => "UpdateFunctionUrlConfig",
        ["functions", _, "url"] if is("DELETE") => "DeleteFunctionUrlConfig",
        ["functions", _, "urls"] if is("GET") => "ListFunctionUrlConfigs",
        ["functions", _, "concurrency"] if is("GET") => "GetFunctionConcurrency",
        ["functions", _, "concurrency"] if is("PUT") => "PutFunctionConcurrency",
        ["functions", _, "concurrency"] if is("DELETE") => "DeleteFunctionConcurrency",
        ["functions", _, "event-invoke-config"] if is("GET") => "GetFunctionEventInvokeConfig",
        ["functions", _, "event-invoke-config"] if is("PUT") => "PutFunctionEventInvokeConfig",
        ["functions", _, "event-invoke-config"] if is("POST") => "UpdateFunctionEventInvokeConfig",
        ["functions", _, "event-invoke-config"] if is("DELETE") => {
            "DeleteFunctionEventInvokeConfig"
        }
        ["functions", _, "event-invoke-config", "list"] if is("GET") => {
            "ListFunctionEventInvokeConfigs"
        }
        ["event-source-mappings"] if is("GET") => "ListEventSourceMappings",
        ["event-source-mappings"] if is("POST") => "CreateEventSourceMapping",
        ["event-source-mappings", _] if is("GET") => "GetEventSourceMapping",
        ["event-source-mappings", _] if is("PUT") => "UpdateEventSourceMapping",
        ["event-source-mappings", _] if is("DELETE") => "DeleteEventSourceMapping",
        ["tags", _] if is("GET") => "ListTags",
        ["tags", _] if is("POST") => "TagResource",
        ["tags", _] if is("DELETE") => "UntagResource",
        ["account-settings"] if is("GET") => "GetAccountSettings",
        _ => "Unknown",
    };
    (action, decode(name))
}

/// Decodes what is percent-encoded in a part of a path.
pub fn decode(text: &str) -> String {
    let form = format!("it={}", text.replace('+', "%2B"));
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&form).unwrap_or_default();
    pairs
        .into_iter()
        .next()
        .map(|(_, value)| value)
        .unwrap_or_default()
}

impl Lambda {
    /// Handles a call.
    ///
    /// # Errors
    /// Lambda's errors.
    pub async fn call(
        self: &Arc<Self>,
        parts: &Parts,
        body: Bytes,
    ) -> Result<LambdaReply, LambdaError> {
        let (action, name) = action_of(&parts.method, parts.uri.path());
        if action == "Invoke" {
            return self.invoke(name_of(&name), &parts.headers, body).await;
        }
        let request = if body.is_empty() {
            json!({})
        } else {
            let parsed = serde_json::from_slice(&body);
            parsed.map_err(|error| LambdaError::InvalidRequestContent(error.to_string()))?
        };
        let query: BTreeMap<String, String> =
            serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap_or_default();
        let ok = |body: Value| Ok(LambdaReply::json(StatusCode::OK, &body));
        match action {
            "CreateFunction" => {
                let shown = self.create_function(request).await?;
                Ok(LambdaReply::json(StatusCode::CREATED, &shown))
            }
            "UpdateFunctionCode" => ok(self.update_code(name_of(&name), &request).await?),
            "UpdateFunctionConfiguration" => {
                ok(self.update_configuration(name_of(&name), request).await?)
            }
            "DeleteFunction" => {
                self.delete_function(name_of(&name)).await?;
                Ok(LambdaReply::empty(StatusCode::NO_CONTENT))
            }
            "GetFunction" => ok(self.with(&name, |entry| {
                let mut shown = json!({
                    "Configuration": entry.function.json(),
                    "Code": { "RepositoryType": "S3", "Location": "" },
                });
                if !entry.function.tags.is_empty() {
                    shown["Tags"] = json!(entry.function.tags);
                }
                if let Some((reserved, _)) = &entry.reserved {
                    shown["Concurrency"] = json!({ "ReservedConcurrentExecutions": reserved });
                }
                Ok(shown)
            })?),
            // No function has one. Terraform asks for it.
            "GetFunctionCodeSigningConfig" => ok(self.with(&name, |entry| {
                Ok(json!({ "FunctionName": entry.function.name }))
            })?),
            "GetFunctionConfiguration" => ok(self.with(&name, |entry| Ok(entry.function.json()))?),
            "ListFunctions" => ok(self.list_functions(&query)),
            "ListVersionsByFunction" => ok(self.with(&name, |entry| {
                Ok(json!({ "Versions": [entry.function.json()] }))
            })?),
            "CreateEventSourceMapping" => {
                self.check_visibility(&request).await?;
                let shown = self.create_source(&request)?;
                Ok(LambdaReply::json(StatusCode::ACCEPTED, &shown))
            }
            "GetEventSourceMapping" => ok(self.event_source_mapping(&name)?),
            "ListEventSourceMappings" => ok(self.event_source_mappings(
                query.get("FunctionName").map(String::as_str),
                query.get("EventSourceArn").map(String::as_str),
            )),
            "UpdateEventSourceMapping" => Ok(LambdaReply::json(
                StatusCode::ACCEPTED,
                &self.update_source(&name, &request)?,
            )),
            "DeleteEventSourceMapping" => Ok(LambdaReply::json(
                StatusCode::ACCEPTED,
                &self.delete_source(&name)?,
            )),
            "GetAccountSettings" => ok(self.account_settings()),
            _ => self.call_on(action, &name, parts, &request),
        }
    }

    async fn invoke(
        self: &Arc<Self>,
        name: &str,
        headers: &HeaderMap,
        payload: Bytes,
    ) -> Result<LambdaReply, LambdaError> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = header("x-amz-invocation-type").unwrap_or("RequestResponse");
        let (limit, shown) = match kind {
            "Event" => (MAX_ASYNCHRONOUS, "Event"),
            _ => (MAX_SYNCHRONOUS, "RequestResponse"),
        };
        if payload.len() > limit {
            return Err(LambdaError::RequestTooLarge(payload.len(), shown, limit));
        }
        let payload = if payload.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            payload
        };
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
            return Err(LambdaError::InvalidRequestContent(error.to_string()));
        }
        match kind {
            "DryRun" => {
                self.with(name, |_| Ok(()))?;
                Ok(LambdaReply::empty(StatusCode::NO_CONTENT))
            }
            "Event" => {
                let request_id = self.enqueue(name, payload)?;
                let mut reply = LambdaReply::empty(StatusCode::ACCEPTED);
                reply.headers.push(("x-amzn-requestid", request_id));
                Ok(reply)
            }
            "RequestResponse" => {
                let permit = self.try_permit(name)?;
                let request_id = Uuid::new_v4().to_string();
                let invoked = self.run(name, payload, request_id, permit).await?;
                let mut headers = vec![
                    ("x-amz-executed-version", "$LATEST".to_owned()),
                    ("x-amzn-requestid", invoked.request_id),
                ];
                if header("x-amz-log-type") == Some("Tail") {
                    headers.push(("x-amz-log-result", BASE64_STANDARD.encode(invoked.tail)));
                }
                let body = match invoked.result {
                    Ok(body) => body,
                    Err(error) => {
                        headers.push(("x-amz-function-error", "Unhandled".to_owned()));
                        error.payload
                    }
                };
                Ok(LambdaReply {
                    status: StatusCode::OK,
                    body,
                    headers,
                })
            }
            other => Err(LambdaError::InvalidParameter(format!(
                "InvocationType {other:?} is not RequestResponse, Event or DryRun"
            ))),
        }
    }

    /// Gives a function a new revision.
    pub(super) fn stamp(&self, function: &mut Function) {
        function.revision = self.revisions.fetch_add(1, Ordering::Relaxed);
        function.last_modified = self.iso_now();
    }

    pub(super) fn iso_now(&self) -> String {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(self.clock.now());
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000"
        );
        now.format(format).unwrap_or_default()
    }

    /// Calls `handle` with a function that is named by its name or its ARN.
    pub(super) fn with<R>(
        &self,
        name: &str,
        handle: impl FnOnce(&mut Entry) -> Result<R, LambdaError>,
    ) -> Result<R, LambdaError> {
        let mut state = self.lock();
        handle(state.entry(name_of(name), &self.region)?)
    }

    pub(super) fn with_url<R>(
        &self,
        name: &str,
        handle: impl FnOnce(&mut FunctionUrl, &str) -> Result<R, LambdaError>,
    ) -> Result<R, LambdaError> {
        self.with(name, |entry| {
            let missing =
                || LambdaError::NotFound("The resource you requested does not exist.".to_owned());
            let url = entry.url.as_mut().ok_or_else(missing)?;
            handle(url, &entry.function.arn)
        })
    }
}
