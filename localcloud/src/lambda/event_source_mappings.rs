//! Event source mappings: a queue's messages start a function.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::function::{self, name_of};
use super::{Lambda, LambdaError};
use crate::clock::Millis;

/// The most batches of a mapping at once, as AWS begins with.
const POLLERS: usize = 5;
/// AWS's limit for a mapping without a batching window.
const MAX_BATCH: u64 = 10_000;
/// How long a receive waits for a message, in seconds.
const LONG_POLL: u64 = 5;
/// The pause after a failed receive, or while the function is gone.
const PAUSE: Duration = Duration::from_millis(500);

/// A mapping. Dropping it ends the polling, after the batch that is being gathered.
#[derive(Debug)]
pub struct EventSourceMapping {
    id: String,
    pub function: String,
    queue_arn: String,
    batch_size: u64,
    /// Seconds.
    window: u64,
    reports_failures: bool,
    most_at_once: Option<u64>,
    is_enabled: bool,
    modified: Millis,
    /// Polls while it is there.
    polling: Option<watch::Sender<()>>,
}

impl EventSourceMapping {
    fn configure(&mut self, request: &Value, now: Millis) -> Result<(), LambdaError> {
        let within = |name: &str, most: u64| match request[name].as_u64() {
            Some(number) if number > most => Err(LambdaError::InvalidParameter(format!(
                "{name} must be at most {most}"
            ))),
            number => Ok(number),
        };
        let filters = request["FilterCriteria"]["Filters"].as_array();
        if filters.is_some_and(|filters| !filters.is_empty()) {
            let message = "localcloud does not filter events; give no FilterCriteria, and filter in the function";
            return Err(LambdaError::InvalidParameter(message.to_owned()));
        }
        let window = within("MaximumBatchingWindowInSeconds", 300)?;
        let batch = within("BatchSize", MAX_BATCH)?;
        self.window = window.unwrap_or(self.window);
        self.batch_size = batch.unwrap_or(self.batch_size).max(1);
        if self.batch_size > 10 && self.window == 0 {
            return Err(LambdaError::InvalidParameter(
                "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10".to_owned(),
            ));
        }
        if let Some(types) = request["FunctionResponseTypes"].as_array() {
            self.reports_failures = types.contains(&json!("ReportBatchItemFailures"));
        }
        if let Some(scaling) = request["ScalingConfig"].as_object() {
            let most = scaling.get("MaximumConcurrency").and_then(Value::as_u64);
            if most.is_some_and(|most| !(2..=1000).contains(&most)) {
                let message = "MaximumConcurrency must be from 2 to 1000";
                return Err(LambdaError::InvalidParameter(message.to_owned()));
            }
            self.most_at_once = most;
        }
        if let Some(is_enabled) = request["Enabled"].as_bool() {
            self.is_enabled = is_enabled;
        }
        self.modified = now;
        Ok(())
    }

    fn json(&self, region: &str) -> Value {
        let mut shown = json!({
            "UUID": self.id,
            "EventSourceMappingArn": format!("arn:aws:lambda:{region}:{}:event-source-mapping:{}", crate::account::ACCOUNT_ID, self.id),
            "EventSourceArn": self.queue_arn,
            "FunctionArn": function::arn(region, &self.function),
            "BatchSize": self.batch_size,
            "MaximumBatchingWindowInSeconds": self.window,
            "State": if self.is_enabled { "Enabled" } else { "Disabled" },
            "StateTransitionReason": "USER_INITIATED",
            "LastModified": self.modified / 1000,
            "FunctionResponseTypes": if self.reports_failures { json!(["ReportBatchItemFailures"]) } else { json!([]) },
        });
        if let Some(most) = self.most_at_once {
            shown["ScalingConfig"] = json!({ "MaximumConcurrency": most });
        }
        shown
    }
}

impl Lambda {
    /// Checks that a queue hides its messages for as long as the function may work.
    ///
    /// # Errors
    /// `InvalidParameter` if it does not. What else is wrong is left to `create_source`.
    pub(super) async fn check_visibility(&self, request: &Value) -> Result<(), LambdaError> {
        let name = name_of(request["FunctionName"].as_str().unwrap_or_default());
        let timeout = self
            .lock()
            .functions
            .get(name)
            .map(|entry| entry.function.timeout);
        let arn = request["EventSourceArn"].as_str().unwrap_or_default();
        let queue = arn.rsplit(':').next().unwrap_or_default();
        let get = json!({ "QueueUrl": queue, "AttributeNames": ["VisibilityTimeout"] });
        let got = self
            .sqs
            .call("GetQueueAttributes", get.to_string().as_bytes(), "")
            .await;
        let got: Value = serde_json::from_slice(&got.unwrap_or_default()).unwrap_or_default();
        let hidden = got["Attributes"]["VisibilityTimeout"].as_str();
        let hidden = hidden.and_then(|seconds| seconds.parse::<u64>().ok());
        match (hidden, timeout) {
            (Some(hidden), Some(timeout)) if hidden < timeout => {
                Err(LambdaError::InvalidParameter(format!(
                    "Queue visibility timeout: {hidden} seconds is less than Function timeout: {timeout} seconds"
                )))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn create_source(self: &Arc<Self>, request: &Value) -> Result<Value, LambdaError> {
        let name = name_of(request["FunctionName"].as_str().unwrap_or_default()).to_owned();
        let queue_arn = request["EventSourceArn"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.lock().entry(&name, &self.region)?;
        if !queue_arn.starts_with("arn:aws:sqs:") {
            return Err(LambdaError::InvalidParameter(
                "localcloud has event sources of SQS queues alone; give the ARN of a queue as EventSourceArn".to_owned(),
            ));
        }
        if !self.sqs.has_queue(&queue_arn) {
            return Err(LambdaError::InvalidParameter(format!(
                "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does not exist: {queue_arn}"
            )));
        }
        let mut mapping = EventSourceMapping {
            id: Uuid::new_v4().to_string(),
            function: name,
            queue_arn,
            batch_size: 10,
            window: 0,
            reports_failures: false,
            most_at_once: None,
            is_enabled: true,
            modified: 0,
            polling: None,
        };
        mapping.configure(request, self.clock.now())?;
        let mut state = self.lock();
        let twice = state.event_source_mappings.values().find(|other| {
            other.function == mapping.function && other.queue_arn == mapping.queue_arn
        });
        if let Some(twice) = twice {
            return Err(LambdaError::Conflict(format!(
                "An event source mapping with SQS arn (\" {} \") and function (\" {} \") already exists. Please update or delete the existing mapping with UUID {}",
                twice.queue_arn, twice.function, twice.id
            )));
        }
        self.start_polling(&mut mapping);
        let shown = mapping.json(&self.region);
        state
            .event_source_mappings
            .insert(mapping.id.clone(), mapping);
        Ok(shown)
    }

    pub(super) fn event_source_mapping(&self, id: &str) -> Result<Value, LambdaError> {
        let state = self.lock();
        let mapping = state.event_source_mappings.get(id).ok_or_else(unknown)?;
        Ok(mapping.json(&self.region))
    }

    pub(super) fn event_source_mappings(
        &self,
        function: Option<&str>,
        queue_arn: Option<&str>,
    ) -> Value {
        let state = self.lock();
        let wanted = state.event_source_mappings.values().filter(|mapping| {
            function.is_none_or(|name| mapping.function == name_of(name))
                && queue_arn.is_none_or(|arn| mapping.queue_arn == arn)
        });
        let shown: Vec<_> = wanted.map(|mapping| mapping.json(&self.region)).collect();
        json!({ "EventSourceMappings": shown })
    }

    pub(super) fn update_source(
        self: &Arc<Self>,
        id: &str,
        request: &Value,
    ) -> Result<Value, LambdaError> {
        let mut state = self.lock();
        if let Some(name) = request["FunctionName"].as_str() {
            state.entry(name_of(name), &self.region)?;
        }
        let mapping = state
            .event_source_mappings
            .get_mut(id)
            .ok_or_else(unknown)?;
        mapping.configure(request, self.clock.now())?;
        if let Some(name) = request["FunctionName"].as_str() {
            mapping.function = name_of(name).to_owned();
        }
        mapping.polling = None;
        self.start_polling(mapping);
        Ok(mapping.json(&self.region))
    }

    pub(super) fn delete_source(&self, id: &str) -> Result<Value, LambdaError> {
        let mapping = self
            .lock()
            .event_source_mappings
            .remove(id)
            .ok_or_else(unknown)?;
        let mut shown = mapping.json(&self.region);
        shown["State"] = "Deleting".into();
        Ok(shown)
    }

    fn start_polling(self: &Arc<Self>, mapping: &mut EventSourceMapping) {
        if !mapping.is_enabled {
            return;
        }
        let poller = Poller {
            lambda: Arc::downgrade(self),
            function: mapping.function.clone(),
            queue: mapping
                .queue_arn
                .rsplit(':')
                .next()
                .unwrap_or_default()
                .to_owned(),
            queue_arn: mapping.queue_arn.clone(),
            region: self.region.clone(),
            batch_size: mapping.batch_size as usize,
            window: Duration::from_secs(mapping.window),
            reports_failures: mapping.reports_failures,
        };
        let most = mapping.most_at_once.map_or(POLLERS, |most| most as usize);
        let (polling, ended) = watch::channel(());
        mapping.polling = Some(polling);
        let places = Arc::new(Semaphore::new(most));
        tokio::spawn(poll(Arc::new(poller), places, ended));
    }
}

struct Poller {
    lambda: std::sync::Weak<Lambda>,
    function: String,
    queue: String,
    queue_arn: String,
    region: String,
    batch_size: usize,
    window: Duration,
    reports_failures: bool,
}

/// Receives batches for as long as the mapping is there, and has each handled.
async fn poll(poller: Arc<Poller>, places: Arc<Semaphore>, mut ended: watch::Receiver<()>) {
    while ended.has_changed().is_ok() {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = over(&mut ended) => return,
        };
        let Ok(place) = place else { return };
        match poller.receive(&mut ended).await {
            None => return,
            Some(messages) if messages.is_empty() => {}
            Some(messages) => {
                let poller = Arc::clone(&poller);
                // A batch that was received is handled, also when the mapping ends.
                tokio::spawn(async move { poller.handle(messages, place).await });
            }
        }
    }
}

/// Returns when the mapping has ended or changed.
async fn over(ended: &mut watch::Receiver<()>) {
    while ended.changed().await.is_ok() {}
}

impl Poller {
    /// Receives a batch, possibly an empty one. `None` when localcloud ends. The end of the mapping completes the batch:
    /// its messages are hidden from others already.
    async fn receive(&self, ended: &mut watch::Receiver<()>) -> Option<Vec<Value>> {
        let mut messages: Vec<Value> = Vec::new();
        let mut until = None;
        loop {
            let lambda = self.lambda.upgrade()?;
            let left: Option<Duration> =
                until.map(|until: Instant| until.saturating_duration_since(Instant::now()));
            let wait = left.map_or(LONG_POLL, |left| left.as_secs().min(LONG_POLL));
            let request = json!({
                "QueueUrl": self.queue,
                "MaxNumberOfMessages": (self.batch_size - messages.len()).min(10),
                "WaitTimeSeconds": wait,
                "AttributeNames": ["All"],
                "MessageAttributeNames": ["All"],
            });
            let request = request.to_string();
            let received = tokio::select! {
                received = lambda.sqs.call("ReceiveMessage", request.as_bytes(), "") => received,
                () = over(ended) => return Some(messages),
            };
            let Ok(received) = received else {
                sleep(PAUSE).await;
                return Some(messages);
            };
            let received: Value = serde_json::from_slice(&received).unwrap_or_default();
            let new = received["Messages"].as_array().cloned().unwrap_or_default();
            let is_empty = new.is_empty();
            messages.extend(new);
            if messages.is_empty() {
                return Some(messages);
            }
            let until = *until.get_or_insert_with(|| Instant::now() + self.window);
            if messages.len() >= self.batch_size
                || Instant::now() >= until
                || (is_empty && wait == 0)
            {
                return Some(messages);
            }
        }
    }

    async fn handle(&self, messages: Vec<Value>, place: OwnedSemaphorePermit) {
        let Some(lambda) = self.lambda.upgrade() else {
            return;
        };
        let records: Vec<_> = messages
            .iter()
            .map(|message| self.record(message))
            .collect();
        let payload = json!({ "Records": records }).to_string();
        let request_id = Uuid::new_v4().to_string();
        let Ok(permit) = lambda.permit(&self.function).await else {
            // The messages return by their visibility timeout.
            return sleep(PAUSE).await;
        };
        let invoked = lambda
            .run(&self.function, payload.into(), request_id, permit)
            .await;
        drop(place);
        let Ok(Ok(response)) = invoked.map(|invoked| invoked.result) else {
            return;
        };
        let failed = if self.reports_failures {
            failed_items(&response)
        } else {
            Some(Vec::new())
        };
        // A response that cannot be read stands for a batch that failed.
        let Some(failed) = failed else { return };
        for message in messages {
            if !failed.iter().any(|id| message["MessageId"] == id.as_str()) {
                let request =
                    json!({ "QueueUrl": self.queue, "ReceiptHandle": message["ReceiptHandle"] });
                let _ = lambda
                    .sqs
                    .call("DeleteMessage", request.to_string().as_bytes(), "")
                    .await;
            }
        }
    }

    fn record(&self, message: &Value) -> Value {
        let attributes = message["MessageAttributes"].as_object();
        let attributes: serde_json::Map<_, _> = attributes
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                let mut shown = json!({ "dataType": value["DataType"] });
                for (from, to) in [
                    ("StringValue", "stringValue"),
                    ("BinaryValue", "binaryValue"),
                ] {
                    if !value[from].is_null() {
                        shown[to] = value[from].clone();
                    }
                }
                (name.clone(), shown)
            })
            .collect();
        json!({
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": attributes,
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self.queue_arn,
            "awsRegion": self.region,
        })
    }
}

/// Returns the ids of the messages that failed; `None` if all did.
fn failed_items(response: &[u8]) -> Option<Vec<String>> {
    let response: Value = serde_json::from_slice(response).ok()?;
    let failures = match &response["batchItemFailures"] {
        Value::Null => return Some(Vec::new()),
        failures => failures.as_array()?,
    };
    let ids = failures
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str());
    let ids: Option<Vec<_>> = ids
        .map(|id| id.filter(|id| !id.is_empty()).map(str::to_owned))
        .collect();
    ids
}

fn unknown() -> LambdaError {
    LambdaError::NotFound("The resource you requested does not exist.".to_owned())
}
