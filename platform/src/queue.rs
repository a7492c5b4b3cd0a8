//! SQS queues.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Config;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};

use crate::timeouts::receive_timeouts;

pub use batcher::{Batcher, Wait};

mod batch;
mod batcher;

/// The most messages of one batch call or one receive. SQS refuses more.
pub const BATCH_LIMIT: usize = 10;

/// One SQS queue. Every call fails with [`QueueError::NotFound`] after the queue was deleted, and with
/// [`QueueError::Unavailable`] when SQS cannot be reached or refuses.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
    name: String,
}

/// Attributes of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAttributes {
    /// How long a received message stays hidden from other receivers.
    pub visibility_timeout: Duration,
    /// The largest message, in bytes. `None`: SQS's own limit.
    pub maximum_message_size: Option<usize>,
    /// How long a message is kept that is not deleted. `None`: SQS's default, four days.
    pub retention: Option<Duration>,
    /// The dead-letter queue.
    pub redrive: Option<Redrive>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    pub dead_letter_queue: Queue,
    pub max_receive_count: u32,
}

/// A received message, hidden from other receivers until its visibility timeout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub body: String,
    pub receipt_handle: String,
    /// How often the message was received, including this time.
    pub receive_count: u32,
    /// Time from the send to the first receive, by SQS's clock.
    pub waited: Duration,
}

/// The queue's approximate counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("no queue {0:?}")]
    NotFound(String),
    #[error("the queue failed: {0}")]
    Unavailable(String),
}

impl PartialEq for Queue {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Eq for Queue {}

impl Queue {
    pub(crate) async fn open(client: Client, name: &str) -> Result<Self, QueueError> {
        match client.get_queue_url().queue_name(name).send().await {
            Ok(found) => Ok(Self {
                client,
                url: found.queue_url.unwrap_or_default(),
                name: name.to_owned(),
            }),
            Err(error) => Err(failed(name, &error)),
        }
    }

    /// Lists the names of the queues that begin with `prefix`.
    pub(crate) async fn list(client: &Client, prefix: &str) -> Result<Vec<String>, QueueError> {
        let mut names = Vec::new();
        let mut pages = client
            .list_queues()
            .queue_name_prefix(prefix)
            // Without it SQS returns one page and no token for the next.
            .max_results(1000)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed(prefix, &error))?;
            let urls = page.queue_urls().iter();
            names.extend(urls.filter_map(|url| Some(url.rsplit_once('/')?.1.to_owned())));
        }
        Ok(names)
    }

    pub(crate) async fn ensure(
        client: Client,
        name: &str,
        wanted: &QueueAttributes,
    ) -> Result<Self, QueueError> {
        let attributes = wanted.encode().await?;
        match Self::open(client.clone(), name).await {
            Ok(queue) => {
                let set = client
                    .set_queue_attributes()
                    .queue_url(&queue.url)
                    .set_attributes(Some(attributes))
                    .send()
                    .await;
                set.map(|_| queue).map_err(|error| failed(name, &error))
            }
            Err(QueueError::NotFound(_)) => {
                let created = client
                    .create_queue()
                    .queue_name(name)
                    .set_attributes(Some(attributes))
                    .send()
                    .await
                    .map_err(|error| failed(name, &error))?;
                Ok(Self {
                    client,
                    url: created.queue_url.unwrap_or_default(),
                    name: name.to_owned(),
                })
            }
            Err(error) => Err(error),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn failed<E: std::error::Error + ProvideErrorMetadata>(&self, error: &E) -> QueueError {
        failed(&self.name, error)
    }

    fn done<T, E>(&self, result: Result<T, E>) -> Result<(), QueueError>
    where
        E: std::error::Error + ProvideErrorMetadata,
    {
        result.map(drop).map_err(|error| self.failed(&error))
    }

    /// Sends one message.
    pub async fn send(&self, body: String) -> Result<(), QueueError> {
        let call = self.client.send_message().queue_url(&self.url);
        self.done(call.message_body(body).send().await)
    }

    /// Receives up to `limit` messages (at most [`BATCH_LIMIT`]). Waits up to `wait` (at most 20 s) for the first.
    ///
    /// Do not drop the future: messages of a reply that is lost stay hidden until their visibility timeout.
    pub async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, QueueError> {
        self.receive_hiding(limit, wait, None).await
    }

    /// Receives as [`Queue::receive`] does, with a visibility timeout for these messages alone.
    pub async fn receive_hiding(
        &self,
        limit: usize,
        wait: Duration,
        visibility_timeout: Option<Duration>,
    ) -> Result<Vec<Message>, QueueError> {
        let received = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(limit.clamp(1, BATCH_LIMIT)).unwrap_or(1))
            .wait_time_seconds(whole_seconds(wait))
            .set_visibility_timeout(visibility_timeout.map(whole_seconds))
            .set_message_system_attribute_names(Some(vec![
                MessageSystemAttributeName::ApproximateReceiveCount,
                MessageSystemAttributeName::SentTimestamp,
                MessageSystemAttributeName::ApproximateFirstReceiveTimestamp,
            ]))
            .customize()
            .config_override(Config::builder().timeout_config(receive_timeouts(wait)))
            .send()
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(received
            .messages
            .unwrap_or_default()
            .into_iter()
            .filter_map(message)
            .collect())
    }

    /// Deletes a received message.
    pub async fn delete(&self, receipt_handle: &str) -> Result<(), QueueError> {
        let call = self.client.delete_message().queue_url(&self.url);
        self.done(call.receipt_handle(receipt_handle).send().await)
    }

    /// Hides a received message for `timeout` from now. Zero returns it to the queue at once.
    pub async fn change_visibility(
        &self,
        receipt_handle: &str,
        timeout: Duration,
    ) -> Result<(), QueueError> {
        let call = self.client.change_message_visibility();
        let call = call.queue_url(&self.url).receipt_handle(receipt_handle);
        let timeout = whole_seconds(timeout);
        self.done(call.visibility_timeout(timeout).send().await)
    }

    /// Reads the approximate counters.
    pub async fn counters(&self) -> Result<Counters, QueueError> {
        use QueueAttributeName as Name;
        let (visible, in_flight, delayed) = (
            Name::ApproximateNumberOfMessages,
            Name::ApproximateNumberOfMessagesNotVisible,
            Name::ApproximateNumberOfMessagesDelayed,
        );
        let attributes = self
            .attributes([visible.clone(), in_flight.clone(), delayed.clone()])
            .await?;
        let number = |name| {
            attributes
                .get(&name)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        Ok(Counters {
            visible: number(visible),
            in_flight: number(in_flight),
            delayed: number(delayed),
        })
    }

    /// Reads the queue's visibility timeout.
    pub async fn visibility_timeout(&self) -> Result<Duration, QueueError> {
        let seconds = self.number(QueueAttributeName::VisibilityTimeout).await?;
        Ok(Duration::from_secs(seconds))
    }

    /// Reads the largest message size, in bytes.
    pub async fn maximum_message_size(&self) -> Result<usize, QueueError> {
        let bytes = self.number(QueueAttributeName::MaximumMessageSize).await?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Reads the name of the dead-letter queue, and after how many receives a message goes there; absent without one.
    pub async fn redrive_policy(&self) -> Result<Option<(String, u32)>, QueueError> {
        let name = QueueAttributeName::RedrivePolicy;
        let attributes = self.attributes([name.clone()]).await?;
        let Some(policy) = attributes.get(&name) else {
            return Ok(None);
        };
        let policy: serde_json::Value = serde_json::from_str(policy).unwrap_or_default();
        let target = policy["deadLetterTargetArn"].as_str().unwrap_or_default();
        let queue = target.rsplit(':').next().unwrap_or_default().to_owned();
        // SQS returns it as a number or as text, as it was set.
        let count = &policy["maxReceiveCount"];
        let text = count.as_str().and_then(|text| text.parse().ok());
        let count = count.as_u64().or(text).unwrap_or_default();
        Ok(Some((queue, u32::try_from(count).unwrap_or(u32::MAX))))
    }

    /// Reads when the queue's attributes were last set, in seconds of SQS's clock.
    pub async fn last_modified(&self) -> Result<u64, QueueError> {
        self.number(QueueAttributeName::LastModifiedTimestamp).await
    }

    /// Deletes the queue with its messages.
    pub async fn delete_queue(self) -> Result<(), QueueError> {
        self.done(self.client.delete_queue().queue_url(&self.url).send().await)
    }

    async fn number(&self, name: QueueAttributeName) -> Result<u64, QueueError> {
        let attributes = self.attributes([name.clone()]).await?;
        let number = attributes.get(&name).and_then(|text| text.parse().ok());
        number.ok_or_else(|| missing(&name))
    }

    async fn arn(&self) -> Result<String, QueueError> {
        let name = QueueAttributeName::QueueArn;
        let mut attributes = self.attributes([name.clone()]).await?;
        attributes.remove(&name).ok_or_else(|| missing(&name))
    }

    async fn attributes(
        &self,
        names: impl IntoIterator<Item = QueueAttributeName>,
    ) -> Result<HashMap<QueueAttributeName, String>, QueueError> {
        let got = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .set_attribute_names(Some(names.into_iter().collect()))
            .send()
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(got.attributes.unwrap_or_default())
    }
}

impl QueueAttributes {
    async fn encode(&self) -> Result<HashMap<QueueAttributeName, String>, QueueError> {
        let mut attributes = HashMap::from([(
            QueueAttributeName::VisibilityTimeout,
            self.visibility_timeout.as_secs().to_string(),
        )]);
        if let Some(bytes) = self.maximum_message_size {
            attributes.insert(QueueAttributeName::MaximumMessageSize, bytes.to_string());
        }
        if let Some(retention) = self.retention {
            let seconds = retention.as_secs().to_string();
            attributes.insert(QueueAttributeName::MessageRetentionPeriod, seconds);
        }
        if let Some(redrive) = &self.redrive {
            let policy = serde_json::json!({
                "deadLetterTargetArn": redrive.dead_letter_queue.arn().await?,
                "maxReceiveCount": redrive.max_receive_count.to_string(),
            });
            attributes.insert(QueueAttributeName::RedrivePolicy, policy.to_string());
        }
        Ok(attributes)
    }
}

fn message(received: aws_sdk_sqs::types::Message) -> Option<Message> {
    use MessageSystemAttributeName as Name;
    let attributes = received.attributes.unwrap_or_default();
    let number = |name| attributes.get(&name)?.parse::<u64>().ok();
    let (sent, first_received) = (
        number(Name::SentTimestamp),
        number(Name::ApproximateFirstReceiveTimestamp),
    );
    let waited = first_received.zip(sent);
    let waited = waited.map_or(0, |(received, sent)| received.saturating_sub(sent));
    let receive_count = number(Name::ApproximateReceiveCount);
    Some(Message {
        body: received.body?,
        receipt_handle: received.receipt_handle?,
        receive_count: receive_count.map_or(1, |count| count.try_into().unwrap_or(u32::MAX)),
        waited: Duration::from_millis(waited),
    })
}

fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn missing(name: &QueueAttributeName) -> QueueError {
    QueueError::Unavailable(format!("the queue has no attribute {}", name.as_str()))
}

fn failed<E>(queue: &str, error: &E) -> QueueError
where
    E: std::error::Error + ProvideErrorMetadata,
{
    // The second is the name of SQS's query protocol, which SQS still sends.
    match error.code() {
        Some("QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue") => {
            QueueError::NotFound(queue.to_owned())
        }
        _ => QueueError::Unavailable(DisplayErrorContext(error).to_string()),
    }
}
