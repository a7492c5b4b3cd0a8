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
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::code;
use super::events::EventSettings;
use super::function::{self, Function, Settings, name_of};
use super::permissions::{Statement, policy};
use super::urls::Url;
use super::{Entry, Lambda, LambdaError};
use crate::iam::Access;

/// AWS's limits on payloads, in bytes.
const MAX_SYNCHRONOUS: usize = 6 << 20;
const MAX_ASYNCHRONOUS: usize = 1 << 20;

/// The actions, for metrics and policies.
pub const ACTIONS: [&str; 36] = [
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
pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
    pub headers: Vec<(&'static str, String)>,
}

impl Reply {
    fn json(status: StatusCode, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string().into(),
            headers: Vec::new(),
        }
    }

    fn empty(status: StatusCode) -> Self {
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
fn decode(text: &str) -> String {
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
    pub async fn call(self: &Arc<Self>, parts: &Parts, body: Bytes) -> Result<Reply, LambdaError> {
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
        let ok = |body: Value| Ok(Reply::json(StatusCode::OK, &body));
        match action {
            "CreateFunction" => {
                let shown = self.create_function(request).await?;
                Ok(Reply::json(StatusCode::CREATED, &shown))
            }
            "UpdateFunctionCode" => ok(self.update_code(name_of(&name), &request).await?),
            "UpdateFunctionConfiguration" => {
                ok(self.update_configuration(name_of(&name), request).await?)
            }
            "DeleteFunction" => {
                self.delete_function(name_of(&name)).await?;
                Ok(Reply::empty(StatusCode::NO_CONTENT))
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
            "GetFunctionConfiguration" => ok(self.with(&name, |entry| Ok(entry.function.json()))?),
            "ListFunctions" => ok(self.list_functions(&query)),
            "ListVersionsByFunction" => ok(self.with(&name, |entry| {
                Ok(json!({ "Versions": [entry.function.json()] }))
            })?),
            "CreateEventSourceMapping" => Ok(Reply::json(
                StatusCode::ACCEPTED,
                &self.create_source(&request)?,
            )),
            "GetEventSourceMapping" => ok(self.source(&name)?),
            "ListEventSourceMappings" => ok(self.sources(
                query.get("FunctionName").map(String::as_str),
                query.get("EventSourceArn").map(String::as_str),
            )),
            "UpdateEventSourceMapping" => Ok(Reply::json(
                StatusCode::ACCEPTED,
                &self.update_source(&name, &request)?,
            )),
            "DeleteEventSourceMapping" => Ok(Reply::json(
                StatusCode::ACCEPTED,
                &self.delete_source(&name)?,
            )),
            "GetAccountSettings" => ok(self.account_settings()),
            _ => self.call_on(action, &name, parts, &request, &query),
        }
    }

    /// Handles the calls about settings of a function besides its configuration.
    fn call_on(
        &self,
        action: &str,
        name: &str,
        parts: &Parts,
        request: &Value,
        query: &BTreeMap<String, String>,
    ) -> Result<Reply, LambdaError> {
        let created = StatusCode::CREATED;
        let gone = || Ok(Reply::empty(StatusCode::NO_CONTENT));
        let now = self.iso_now();
        let endpoint = &self.endpoint;
        let body = match action {
            "AddPermission" => {
                let statement = Statement::read(request)?;
                let shown = self.with(name, |entry| {
                    if entry.policy.iter().any(|other| other.id == statement.id) {
                        return Err(LambdaError::Conflict(format!(
                            "The statement id ({}) provided already exists. Please provide a new statement id, or remove the existing statement.",
                            statement.id
                        )));
                    }
                    let shown = statement.json(&entry.function).to_string();
                    entry.policy.push(statement);
                    Ok(json!({ "Statement": shown }))
                })?;
                return Ok(Reply::json(created, &shown));
            }
            "RemovePermission" => {
                let id = decode(
                    parts
                        .uri
                        .path()
                        .trim_end_matches('/')
                        .rsplit('/')
                        .next()
                        .unwrap_or_default(),
                );
                self.with(name, |entry| {
                    let before = entry.policy.len();
                    entry.policy.retain(|statement| statement.id != id);
                    if entry.policy.len() == before {
                        let message = format!("Statement {id} is not found in resource policy.");
                        return Err(LambdaError::NotFound(message));
                    }
                    Ok(())
                })?;
                return gone();
            }
            "GetPolicy" => self.with(name, |entry| {
                if entry.policy.is_empty() {
                    let message = "The resource you requested does not exist.";
                    return Err(LambdaError::NotFound(message.to_owned()));
                }
                let policy = policy(&entry.policy, &entry.function);
                Ok(json!({ "Policy": policy, "RevisionId": entry.function.json()["RevisionId"] }))
            })?,
            "CreateFunctionUrlConfig" => {
                let url = Url::new(request, now)?;
                let shown = self.with(name, |entry| {
                    if entry.url.is_some() {
                        let message = format!("Failed to create function url config for [functionArn = {}]. Error message:  FunctionUrlConfig exists for this Lambda function", entry.function.arn);
                        return Err(LambdaError::Conflict(message));
                    }
                    let shown = url.json(endpoint, &entry.function.arn);
                    entry.url = Some(url);
                    Ok(shown)
                })?;
                return Ok(Reply::json(created, &shown));
            }
            "UpdateFunctionUrlConfig" => self.with_url(name, |url, arn| {
                url.configure(request)?;
                Ok(url.json(endpoint, arn))
            })?,
            "GetFunctionUrlConfig" => {
                self.with_url(name, |url, arn| Ok(url.json(endpoint, arn)))?
            }
            "ListFunctionUrlConfigs" => self.with(name, |entry| {
                let arn = &entry.function.arn;
                let urls: Vec<_> = entry
                    .url
                    .iter()
                    .map(|url| url.json(endpoint, arn))
                    .collect();
                Ok(json!({ "FunctionUrlConfigs": urls }))
            })?,
            "DeleteFunctionUrlConfig" => {
                self.with_url(name, |_, _| Ok(()))?;
                self.with(name, |entry| {
                    entry.url = None;
                    Ok(())
                })?;
                return gone();
            }
            "PutFunctionConcurrency" => {
                let wanted = request["ReservedConcurrentExecutions"].as_u64();
                let wanted = wanted.and_then(|it| usize::try_from(it).ok());
                let most = self.config.concurrency;
                let Some(reserved) = wanted.filter(|reserved| *reserved <= most) else {
                    return Err(LambdaError::InvalidParameter(format!(
                        "ReservedConcurrentExecutions must be a number from 0 to the account's {most}"
                    )));
                };
                self.with(name, |entry| {
                    entry.reserved = Some((reserved, Arc::new(Semaphore::new(reserved))));
                    Ok(json!({ "ReservedConcurrentExecutions": reserved }))
                })?
            }
            "GetFunctionConcurrency" => self.with(name, |entry| {
                Ok(entry.reserved.as_ref().map_or_else(
                    || json!({}),
                    |(reserved, _)| json!({ "ReservedConcurrentExecutions": reserved }),
                ))
            })?,
            "DeleteFunctionConcurrency" => {
                self.with(name, |entry| {
                    entry.reserved = None;
                    Ok(())
                })?;
                return gone();
            }
            "PutFunctionEventInvokeConfig" => self.with(name, |entry| {
                entry.events = event_settings(EventSettings::default(), request)?;
                Ok(event_json(&entry.events, &entry.function, self.clock.now()))
            })?,
            "UpdateFunctionEventInvokeConfig" => self.with(name, |entry| {
                entry.events = event_settings(entry.events.clone(), request)?;
                Ok(event_json(&entry.events, &entry.function, self.clock.now()))
            })?,
            "GetFunctionEventInvokeConfig" => self.with(name, |entry| {
                if !entry.events.is_set {
                    return Err(LambdaError::NotFound(format!(
                        "The function {} doesn't have an EventInvokeConfig",
                        entry.function.arn
                    )));
                }
                Ok(event_json(&entry.events, &entry.function, self.clock.now()))
            })?,
            "ListFunctionEventInvokeConfigs" => self.with(name, |entry| {
                let is_set = entry.events.is_set;
                let shown =
                    is_set.then(|| event_json(&entry.events, &entry.function, self.clock.now()));
                Ok(json!({ "FunctionEventInvokeConfigs": shown.into_iter().collect::<Vec<_>>() }))
            })?,
            "DeleteFunctionEventInvokeConfig" => {
                self.with(name, |entry| {
                    entry.events = EventSettings::default();
                    Ok(())
                })?;
                return gone();
            }
            "ListTags" => self.with(name, |entry| Ok(json!({ "Tags": entry.function.tags })))?,
            "TagResource" => {
                let tags: BTreeMap<String, String> =
                    serde_json::from_value(request["Tags"].clone())
                        .map_err(|error| LambdaError::InvalidParameter(error.to_string()))?;
                self.with(name, |entry| {
                    entry.function.tags.extend(tags);
                    Ok(())
                })?;
                return gone();
            }
            "UntagResource" => {
                let keys = parts.uri.query().unwrap_or_default();
                let keys: Vec<(String, String)> =
                    serde_urlencoded::from_str(keys).unwrap_or_default();
                self.with(name, |entry| {
                    entry
                        .function
                        .tags
                        .retain(|key, _| keys.iter().all(|(_, it)| it != key));
                    Ok(())
                })?;
                return gone();
            }
            _ => {
                let _ = query;
                let call = format!("{} {}", parts.method, parts.uri.path());
                return Err(LambdaError::NotImplemented(call));
            }
        };
        Ok(Reply::json(StatusCode::OK, &body))
    }

    async fn invoke(
        self: &Arc<Self>,
        name: &str,
        headers: &HeaderMap,
        payload: Bytes,
    ) -> Result<Reply, LambdaError> {
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
                Ok(Reply::empty(StatusCode::NO_CONTENT))
            }
            "Event" => {
                let request_id = self.enqueue(name, payload)?;
                let mut reply = Reply::empty(StatusCode::ACCEPTED);
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
                Ok(Reply {
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

    async fn create_function(&self, request: Value) -> Result<Value, LambdaError> {
        let settings = settings(request.clone())?;
        let name = settings.function_name.clone().unwrap_or_default();
        if self.lock().functions.contains_key(&name) {
            return Err(LambdaError::Conflict(format!(
                "Function already exist: {name}"
            )));
        }
        // The settings are checked before the code is unpacked.
        let placeholder = code::CodeInfo {
            sha256: String::new(),
            size: 0,
        };
        let mut function = Function::new(settings, &self.region, placeholder)?;
        let (folder, info) = self.unpack(&request["Code"]).await?;
        function.code = info;
        self.stamp(&mut function);
        let shown = function.json();
        let entry = Entry {
            function,
            code: folder,
            idle: Vec::new(),
            running: 0,
            reserved: None,
            events: EventSettings::default(),
            policy: Vec::new(),
            url: None,
        };
        let mut state = self.lock();
        if state.functions.contains_key(&name) {
            return Err(LambdaError::Conflict(format!(
                "Function already exist: {name}"
            )));
        }
        state.functions.insert(name, entry);
        Ok(shown)
    }

    async fn update_code(&self, name: &str, request: &Value) -> Result<Value, LambdaError> {
        self.with(name, |_| Ok(()))?;
        let (folder, info) = self.unpack(request).await?;
        let (shown, idle) = self.with(name, |entry| {
            entry.function.code = info;
            entry.code = folder;
            self.stamp(&mut entry.function);
            Ok((entry.function.json(), std::mem::take(&mut entry.idle)))
        })?;
        self.end_all(idle).await;
        Ok(shown)
    }

    async fn update_configuration(&self, name: &str, request: Value) -> Result<Value, LambdaError> {
        let settings = settings(request)?;
        let (shown, idle) = self.with(name, |entry| {
            let mut changed = entry.function.clone();
            changed.configure(settings)?;
            self.stamp(&mut changed);
            entry.function = changed;
            Ok((entry.function.json(), std::mem::take(&mut entry.idle)))
        })?;
        self.end_all(idle).await;
        Ok(shown)
    }

    async fn delete_function(&self, name: &str) -> Result<(), LambdaError> {
        let removed = self.lock().functions.remove(name);
        let arn = function::arn(&self.region, name);
        let entry = removed.ok_or_else(|| LambdaError::function_not_found(&arn))?;
        self.lock()
            .sources
            .retain(|_, source| source.function != name);
        self.end_all(entry.idle).await;
        // A process that still runs keeps its open files.
        let _ = tokio::fs::remove_dir_all(&entry.code).await;
        Ok(())
    }

    fn list_functions(&self, query: &BTreeMap<String, String>) -> Value {
        let most = query
            .get("MaxItems")
            .and_then(|it| it.parse().ok())
            .unwrap_or(50_usize);
        let after = query.get("Marker").cloned().unwrap_or_default();
        let state = self.lock();
        let mut names = state
            .functions
            .range(after.clone()..)
            .filter(|(name, _)| **name != after);
        let page: Vec<_> = names.by_ref().take(most.clamp(1, 50)).collect();
        let more = names.next().is_some();
        let shown: Vec<_> = page
            .iter()
            .map(|(_, entry)| entry.function.json())
            .collect();
        let mut reply = json!({ "Functions": shown });
        if let (true, Some((last, _))) = (more, page.last()) {
            reply["NextMarker"] = last.as_str().into();
        }
        reply
    }

    fn account_settings(&self) -> Value {
        let state = self.lock();
        let sizes = state
            .functions
            .values()
            .map(|entry| entry.function.code.size);
        let reserved = state
            .functions
            .values()
            .filter_map(|entry| entry.reserved.as_ref());
        let reserved: usize = reserved.map(|(reserved, _)| reserved).sum();
        json!({
            "AccountLimit": {
                "TotalCodeSize": 80_530_636_800_u64,
                "CodeSizeUnzipped": 262_144_000,
                "CodeSizeZipped": 52_428_800,
                "ConcurrentExecutions": self.config.concurrency,
                "UnreservedConcurrentExecutions": self.config.concurrency.saturating_sub(reserved),
            },
            "AccountUsage": { "TotalCodeSize": sizes.sum::<usize>(), "FunctionCount": state.functions.len() },
        })
    }

    /// Unpacks the code that a request has or names, into a new folder.
    async fn unpack(
        &self,
        code: &Value,
    ) -> Result<(std::path::PathBuf, code::CodeInfo), LambdaError> {
        let (zip, from_request) = match (code["ZipFile"].as_str(), code["S3Bucket"].as_str()) {
            (Some(zip), _) => {
                let zip = BASE64_STANDARD.decode(zip);
                let wrong =
                    |_| LambdaError::InvalidRequestContent("ZipFile is not Base64".to_owned());
                (zip.map_err(wrong)?, true)
            }
            (None, Some(bucket)) => {
                let key = code["S3Key"].as_str().unwrap_or_default();
                let object = self
                    .objects
                    .get()
                    .and_then(|objects| objects.read(bucket, key));
                let missing = || {
                    LambdaError::InvalidParameter(format!(
                        "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: there is no object {key} in the bucket {bucket}"
                    ))
                };
                (object.ok_or_else(missing)?, false)
            }
            (None, None) => {
                let message = "Please provide a source for function code.";
                return Err(LambdaError::InvalidParameter(message.to_owned()));
            }
        };
        let folder = self.folder.join(Uuid::new_v4().simple().to_string());
        let into = folder.clone();
        let unpacked = tokio::task::spawn_blocking(move || code::unpack(&zip, &into, from_request));
        let failed = |_| LambdaError::Service("the code cannot be unpacked".to_owned());
        let info = unpacked.await.map_err(failed)??;
        Ok((folder, info))
    }

    /// Gives a function a new revision.
    fn stamp(&self, function: &mut Function) {
        function.revision = self.revisions.fetch_add(1, Ordering::Relaxed);
        function.last_modified = self.iso_now();
    }

    fn iso_now(&self) -> String {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(self.clock.now());
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000"
        );
        now.format(format).unwrap_or_default()
    }

    /// Calls `handle` with a function that is named by its name or its ARN.
    fn with<R>(
        &self,
        name: &str,
        handle: impl FnOnce(&mut Entry) -> Result<R, LambdaError>,
    ) -> Result<R, LambdaError> {
        let mut state = self.lock();
        handle(state.entry(name_of(name), &self.region)?)
    }

    fn with_url<R>(
        &self,
        name: &str,
        handle: impl FnOnce(&mut Url, &str) -> Result<R, LambdaError>,
    ) -> Result<R, LambdaError> {
        self.with(name, |entry| {
            let missing =
                || LambdaError::NotFound("The resource you requested does not exist.".to_owned());
            let url = entry.url.as_mut().ok_or_else(missing)?;
            handle(url, &entry.function.arn)
        })
    }

    /// Returns the access that a call needs.
    pub fn access(&self, parts: &Parts, body: &[u8]) -> Access {
        let (action, name) = action_of(&parts.method, parts.uri.path());
        let permission = match action {
            "Invoke" => "InvokeFunction",
            other => other,
        };
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let named = request["FunctionName"].as_str().map(str::to_owned);
        let resource = match action {
            "ListFunctions" | "GetAccountSettings" | "ListEventSourceMappings" => "*".to_owned(),
            "CreateFunction" | "CreateEventSourceMapping" => {
                function::arn(&self.region, name_of(&named.unwrap_or_default()))
            }
            _ if action.contains("EventSourceMapping") => "*".to_owned(),
            _ => function::arn(&self.region, name_of(&name)),
        };
        Access::new(format!("lambda:{permission}"), resource)
    }

    /// Whether S3 may send a bucket's events to the function of this ARN.
    pub fn allows_bucket(&self, function_arn: &str, bucket: &str) -> bool {
        let source = format!("arn:aws:s3:::{bucket}");
        let allowed = self.with(function_arn, |entry| {
            let mut statements = entry.policy.iter();
            Ok(statements.any(|it| it.allows_service("s3.amazonaws.com", &source)))
        });
        allowed.unwrap_or(false)
    }
}

fn settings(request: Value) -> Result<Settings, LambdaError> {
    serde_json::from_value(request)
        .map_err(|error| LambdaError::InvalidRequestContent(error.to_string()))
}

fn event_settings(
    mut settings: EventSettings,
    request: &Value,
) -> Result<EventSettings, LambdaError> {
    if let Some(retries) = request["MaximumRetryAttempts"].as_u64() {
        if retries > 2 {
            return Err(LambdaError::Validation(format!(
                "1 validation error detected: Value '{retries}' at 'maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 2"
            )));
        }
        settings.retries = retries as u32;
    }
    if let Some(age) = request["MaximumEventAgeInSeconds"].as_u64() {
        if !(60..=21_600).contains(&age) {
            return Err(LambdaError::Validation(format!(
                "1 validation error detected: Value '{age}' at 'maximumEventAgeInSeconds' failed to satisfy constraint: Member must be from 60 to 21600"
            )));
        }
        settings.max_age = Duration::from_secs(age);
    }
    for (setting, name) in [
        (&mut settings.on_success, "OnSuccess"),
        (&mut settings.on_failure, "OnFailure"),
    ] {
        if let Some(arn) = request["DestinationConfig"][name]["Destination"].as_str() {
            if !arn.starts_with("arn:aws:sqs:") {
                return Err(LambdaError::InvalidParameter(format!(
                    "The destination ARN {arn} is not that of an SQS queue, the only ones that localcloud has"
                )));
            }
            *setting = Some(arn.to_owned());
        }
    }
    settings.is_set = true;
    Ok(settings)
}

fn event_json(settings: &EventSettings, function: &Function, now: u64) -> Value {
    let destination = |arn: &Option<String>| {
        arn.as_ref()
            .map_or_else(|| json!({}), |arn| json!({ "Destination": arn }))
    };
    json!({
        "LastModified": now / 1000,
        "FunctionArn": format!("{}:$LATEST", function.arn),
        "MaximumRetryAttempts": settings.retries,
        "MaximumEventAgeInSeconds": settings.max_age.as_secs(),
        "DestinationConfig": {
            "OnSuccess": destination(&settings.on_success),
            "OnFailure": destination(&settings.on_failure),
        },
    })
}
