use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

/// How many messages one batch call takes, and one receive gives; SQS refuses more.
pub const BATCH_LIMIT: usize = 10;

/// One SQS queue.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
    name: String,
}

/// What a queue is created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAttributes {
    /// How long a received message stays hidden from other receivers.
    pub visibility_timeout: Duration,
    /// The largest message, in bytes; absent: SQS's own limit.
    pub maximum_message_size: Option<usize>,
    /// After how many receives a message goes to which queue.
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
    /// How often the message was received, this time included.
    pub receive_count: u32,
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
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|e| e.is_queue_does_not_exist()) =>
            {
                Err(QueueError::NotFound(name.to_owned()))
            }
            Err(error) => Err(unavailable(&error)),
        }
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
                set.map(|_| queue).map_err(|error| unavailable(&error))
            }
            Err(QueueError::NotFound(_)) => {
                let created = client
                    .create_queue()
                    .queue_name(name)
                    .set_attributes(Some(attributes))
                    .send()
                    .await
                    .map_err(|error| unavailable(&error))?;
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

    /// # Errors
    /// When SQS cannot be reached or refuses.
    pub async fn send(&self, body: String) -> Result<(), QueueError> {
        let sent = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .send()
            .await;
        sent.map(|_| ()).map_err(|error| unavailable(&error))
    }

    /// Sends up to [`BATCH_LIMIT`] messages in one call; one result a message, in order.
    pub async fn send_batch(&self, bodies: Vec<String>) -> Vec<Result<(), QueueError>> {
        let count = bodies.len();
        let entries = bodies.into_iter().enumerate().map(|(index, body)| {
            SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(body)
                .build()
                .expect("id and body are set")
        });
        let sent = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries.collect()))
            .send()
            .await;
        match sent {
            Ok(sent) => batch_results(count, &sent.failed),
            Err(error) => {
                let text = DisplayErrorContext(&error).to_string();
                (0..count)
                    .map(|_| Err(QueueError::Unavailable(text.clone())))
                    .collect()
            }
        }
    }

    /// Receives up to `limit` messages (at most [`BATCH_LIMIT`]), waiting up to `wait` (at most 20 s) for the first.
    ///
    /// Do not drop the future half way: messages that are on their way would stay hidden until their visibility
    /// timeout.
    ///
    /// # Errors
    /// When SQS cannot be reached or refuses.
    pub async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, QueueError> {
        self.receive_hiding(limit, wait, None).await
    }

    /// As [`Queue::receive`], with a visibility timeout of its own for these messages.
    ///
    /// # Errors
    /// When SQS cannot be reached or refuses.
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
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(received
            .messages
            .unwrap_or_default()
            .into_iter()
            .filter_map(message)
            .collect())
    }

    /// # Errors
    /// When SQS cannot be reached or refuses.
    pub async fn delete(&self, receipt_handle: &str) -> Result<(), QueueError> {
        let deleted = self
            .client
            .delete_message()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .send()
            .await;
        deleted.map(|_| ()).map_err(|error| unavailable(&error))
    }

    /// Deletes up to [`BATCH_LIMIT`] messages in one call.
    ///
    /// # Errors
    /// When SQS cannot be reached, or refuses one of them.
    pub async fn delete_batch(&self, receipt_handles: Vec<String>) -> Result<(), QueueError> {
        let entries = receipt_handles
            .into_iter()
            .enumerate()
            .map(|(index, receipt_handle)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(receipt_handle)
                    .build()
                    .expect("id and receipt handle are set")
            });
        let deleted = self
            .client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        batch_results(0, &deleted.failed).into_iter().collect()
    }

    /// Hides a received message for `timeout` from now; zero gives it back at once.
    ///
    /// # Errors
    /// When SQS cannot be reached or refuses.
    pub async fn change_visibility(
        &self,
        receipt_handle: &str,
        timeout: Duration,
    ) -> Result<(), QueueError> {
        let changed = self
            .client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(whole_seconds(timeout))
            .send()
            .await;
        changed.map(|_| ()).map_err(|error| unavailable(&error))
    }

    /// # Errors
    /// When SQS cannot be reached or refuses.
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

    /// The queue's visibility timeout.
    ///
    /// # Errors
    /// When SQS cannot be reached or refuses.
    pub async fn visibility_timeout(&self) -> Result<Duration, QueueError> {
        let name = QueueAttributeName::VisibilityTimeout;
        let attributes = self.attributes([name.clone()]).await?;
        let seconds = attributes.get(&name).and_then(|text| text.parse().ok());
        seconds
            .map(Duration::from_secs)
            .ok_or_else(|| missing(&name))
    }

    /// The largest message that the queue takes, in bytes.
    ///
    /// # Errors
    /// When SQS cannot be reached or refuses.
    pub async fn maximum_message_size(&self) -> Result<usize, QueueError> {
        let name = QueueAttributeName::MaximumMessageSize;
        let attributes = self.attributes([name.clone()]).await?;
        let bytes = attributes.get(&name).and_then(|text| text.parse().ok());
        bytes.ok_or_else(|| missing(&name))
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
            .map_err(|error| unavailable(&error))?;
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
    let receive_count = received
        .attributes
        .as_ref()
        .and_then(|attributes| attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount))
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    Some(Message {
        body: received.body?,
        receipt_handle: received.receipt_handle?,
        receive_count,
    })
}

/// One result for each of `count` entries; entries that SQS reports as failed beyond that are appended.
fn batch_results(
    count: usize,
    failed: &[aws_sdk_sqs::types::BatchResultErrorEntry],
) -> Vec<Result<(), QueueError>> {
    let mut results: Vec<_> = (0..count).map(|_| Ok(())).collect();
    for entry in failed {
        let text = format!(
            "{}: {}",
            entry.code,
            entry.message.as_deref().unwrap_or_default()
        );
        let error = Err(QueueError::Unavailable(text));
        match entry
            .id
            .parse::<usize>()
            .ok()
            .filter(|index| *index < count)
        {
            Some(index) => results[index] = error,
            None => results.push(error),
        }
    }
    results
}

fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn missing(name: &QueueAttributeName) -> QueueError {
    QueueError::Unavailable(format!("the queue has no attribute {}", name.as_str()))
}

fn unavailable<E>(error: &E) -> QueueError
where
    E: std::error::Error + ProvideErrorMetadata,
{
    QueueError::Unavailable(DisplayErrorContext(error).to_string())
}
