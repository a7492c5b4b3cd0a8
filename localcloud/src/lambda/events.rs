//! Asynchronous invocations: events that wait, are retried, and become dead letters.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;
use uuid::Uuid;

use super::function::name_of;
use super::invoke::Invoked;
use super::{Lambda, LambdaError};
use crate::links::EventTarget;

/// The most events that wait or run at once.
const MAX_QUEUED: usize = 100_000;
/// The most bytes of their payloads.
const MAX_QUEUED_BYTES: usize = 256 << 20;
/// How much of an error a dead letter has.
const MAX_MESSAGE_CHARS: usize = 1024;

/// Settings of PutFunctionEventInvokeConfig, with AWS's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSettings {
    pub retries: u32,
    pub max_age: Duration,
    /// ARNs of queues.
    pub on_success: Option<String>,
    pub on_failure: Option<String>,
    /// Whether the settings were ever put.
    pub is_set: bool,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self {
            retries: 2,
            max_age: Duration::from_secs(6 * 3600),
            on_success: None,
            on_failure: None,
            is_set: false,
        }
    }
}

/// Why an event was given up.
struct Failure {
    condition: &'static str,
    invoked: Option<Invoked>,
    attempts: u32,
}

/// An event's place in the queue, which dropping frees.
#[derive(Debug)]
struct Queued {
    lambda: Arc<Lambda>,
    bytes: usize,
}

impl Queued {
    fn new(lambda: &Arc<Lambda>, bytes: usize) -> Result<Self, LambdaError> {
        let events = lambda.queued.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes_in_all = lambda.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let queued = Self {
            lambda: Arc::clone(lambda),
            bytes,
        };
        if events > MAX_QUEUED || bytes_in_all > MAX_QUEUED_BYTES {
            return Err(LambdaError::TooManyRequests);
        }
        Ok(queued)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.lambda.queued.fetch_sub(1, Ordering::Relaxed);
        let bytes = &self.lambda.queued_bytes;
        bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Lambda {
    /// Accepts an event for a function and returns its request id.
    ///
    /// # Errors
    /// When there is no such function, or too many events wait.
    pub fn enqueue(self: &Arc<Self>, name: &str, payload: Bytes) -> Result<String, LambdaError> {
        self.lock().entry(name, &self.region)?;
        let queued = Queued::new(self, payload.len())?;
        let request_id = Uuid::new_v4().to_string();
        let (lambda, name, id) = (Arc::clone(self), name.to_owned(), request_id.clone());
        tokio::spawn(async move {
            lambda.handle_event(&name, payload, id).await;
            drop(queued);
        });
        Ok(request_id)
    }

    async fn handle_event(self: &Arc<Self>, name: &str, payload: Bytes, request_id: String) {
        let accepted = Instant::now();
        let mut failure = Failure {
            condition: "EventAgeExceeded",
            invoked: None,
            attempts: 0,
        };
        loop {
            let Some(settings) = self.event_settings(name) else {
                return warn!(
                    function = name,
                    request_id, "lost an event: its function is deleted"
                );
            };
            if self.never_runs(name) {
                failure.condition = "ZeroReservedConcurrency";
                break;
            }
            let permit = timeout_at(accepted + settings.max_age, self.permit(name)).await;
            let permit = match permit {
                Ok(Ok(permit)) if accepted.elapsed() <= settings.max_age => permit,
                // The function is gone.
                Ok(Err(_)) => continue,
                _ => {
                    failure.condition = "EventAgeExceeded";
                    break;
                }
            };
            let run = self.run(name, payload.clone(), request_id.clone(), permit);
            let Ok(invoked) = run.await else { return };
            failure.attempts += 1;
            if let Ok(response) = &invoked.result {
                if let Some(queue) = settings.on_success {
                    let record = record(
                        &self.arn_of(name),
                        &payload,
                        &invoked,
                        "Success",
                        failure.attempts,
                        response,
                    );
                    self.deliver(name, &queue, record.to_string(), json!({}))
                        .await;
                }
                return;
            }
            failure.invoked = Some(invoked);
            if failure.attempts > settings.retries {
                failure.condition = "RetriesExhausted";
                break;
            }
            // AWS waits one minute, then two.
            sleep(self.config.retry_delay * failure.attempts).await;
        }
        self.give_up(name, &payload, &request_id, failure).await;
    }

    /// Sends an event that failed for good to the queues that are configured for it.
    async fn give_up(&self, name: &str, payload: &Bytes, request_id: &str, failure: Failure) {
        let (dead_letter, on_failure) = {
            let mut state = self.lock();
            match state.entry(name, &self.region) {
                Ok(entry) => (
                    entry.function.dead_letter.clone(),
                    entry.events.on_failure.clone(),
                ),
                Err(_) => return,
            }
        };
        let error = failure
            .invoked
            .as_ref()
            .and_then(|it| it.result.as_ref().err());
        let error = error.map(|it| it.payload.clone()).unwrap_or_default();
        if let Some(queue) = dead_letter {
            let text = |value: &str| json!({ "DataType": "String", "StringValue": value });
            let shown: Value = serde_json::from_slice(&error).unwrap_or_default();
            let message = shown["errorMessage"].as_str().filter(|it| !it.is_empty());
            let message: String = message
                .unwrap_or(failure.condition)
                .chars()
                .take(MAX_MESSAGE_CHARS)
                .collect();
            let attributes = json!({
                "RequestID": text(request_id),
                "ErrorCode": json!({ "DataType": "Number", "StringValue": "200" }),
                "ErrorMessage": text(&message),
            });
            let body = String::from_utf8_lossy(payload).into_owned();
            self.deliver(name, &queue, body, attributes).await;
        }
        let never_ran = || Invoked {
            request_id: request_id.to_owned(),
            result: Ok(Bytes::new()),
            tail: String::new(),
        };
        if let Some(queue) = on_failure {
            let invoked = &failure.invoked.unwrap_or_else(never_ran);
            let condition = failure.condition;
            let record = record(
                &self.arn_of(name),
                payload,
                invoked,
                condition,
                failure.attempts,
                &error,
            );
            self.deliver(name, &queue, record.to_string(), json!({}))
                .await;
        }
    }

    async fn deliver(&self, name: &str, queue_arn: &str, body: String, attributes: Value) {
        let queue = queue_arn.rsplit(':').next().unwrap_or_default();
        let mut request = json!({ "QueueUrl": queue, "MessageBody": body });
        if attributes.as_object().is_some_and(|it| !it.is_empty()) {
            request["MessageAttributes"] = attributes;
        }
        let sent = self
            .sqs
            .call("SendMessage", request.to_string().as_bytes(), "")
            .await;
        if let Err(error) = sent {
            self.record(name, "DeadLetterErrors", 1.0, "Count");
            warn!(%error, function = name, queue, "lost a dead letter or a destination's record");
        }
    }

    /// Returns whether the function's concurrency is zero: AWS gives its events up at once.
    fn never_runs(&self, name: &str) -> bool {
        let mut state = self.lock();
        let entry = state.entry(name, &self.region);
        entry.is_ok_and(|entry| entry.reserved.as_ref().is_some_and(|(most, _)| *most == 0))
    }

    fn arn_of(&self, name: &str) -> String {
        super::function::arn(&self.region, name)
    }

    fn event_settings(&self, name: &str) -> Option<EventSettings> {
        let mut state = self.lock();
        let entry = state.entry(name, &self.region).ok()?;
        Some(entry.events.clone())
    }
}

#[async_trait::async_trait]
impl EventTarget for Lambda {
    fn accepts_events(&self, target_arn: &str, bucket: &str) -> bool {
        let source = format!("arn:aws:s3:::{bucket}");
        let allowed = self.with(target_arn, |entry| {
            let mut statements = entry.policy.iter();
            Ok(statements.any(|it| it.allows_service("s3.amazonaws.com", &source)))
        });
        allowed.unwrap_or(false)
    }

    async fn send_event(self: Arc<Self>, target_arn: &str, message: String) -> Result<(), String> {
        let accepted = self.enqueue(name_of(target_arn), message.into());
        accepted.map(drop).map_err(|error| error.to_string())
    }
}

/// Returns the record that a destination receives.
fn record(
    arn: &str,
    payload: &[u8],
    invoked: &Invoked,
    condition: &str,
    attempts: u32,
    response: &[u8],
) -> Value {
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let mut context = json!({ "statusCode": 200, "executedVersion": "$LATEST" });
    if invoked.result.is_err() {
        context["functionError"] = "Unhandled".into();
    }
    json!({
        "version": "1.0",
        "requestContext": {
            "requestId": invoked.request_id,
            "functionArn": format!("{arn}:$LATEST"),
            "condition": condition,
            "approximateInvokeCount": attempts,
        },
        "requestPayload": json(payload),
        "responseContext": context,
        "responsePayload": json(response),
    })
}
