//! The calls about settings of a function besides its configuration: permissions, URL, concurrency, events and tags.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::api::{LambdaReply, decode};
use super::events::EventSettings;
use super::function::Function;
use super::permissions::{Permission, policy};
use super::urls::FunctionUrl;
use super::{Lambda, LambdaError};

impl Lambda {
    /// Handles the calls about settings of a function besides its configuration.
    pub(super) fn call_on(
        &self,
        action: &str,
        name: &str,
        parts: &Parts,
        request: &Value,
    ) -> Result<LambdaReply, LambdaError> {
        let created = StatusCode::CREATED;
        let gone = || Ok(LambdaReply::empty(StatusCode::NO_CONTENT));
        let now = self.iso_now();
        let endpoint = &self.endpoint;
        let body = match action {
            "AddPermission" => {
                let statement = Permission::read(request)?;
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
                return Ok(LambdaReply::json(created, &shown));
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
                let url = FunctionUrl::new(request, now)?;
                let shown = self.with(name, |entry| {
                    if entry.url.is_some() {
                        let message = format!("Failed to create function url config for [functionArn = {}]. Error message:  FunctionUrlConfig exists for this Lambda function", entry.function.arn);
                        return Err(LambdaError::Conflict(message));
                    }
                    let shown = url.json(endpoint, &entry.function.arn);
                    entry.url = Some(url);
                    Ok(shown)
                })?;
                return Ok(LambdaReply::json(created, &shown));
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
                let call = format!("{} {}", parts.method, parts.uri.path());
                return Err(LambdaError::NotImplemented(call));
            }
        };
        Ok(LambdaReply::json(StatusCode::OK, &body))
    }
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
