use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use platform::aws::Aws;
use platform::backoff::Backoff;
use platform::queue::{Queue, QueueAttributes, Redrive};
use proto::Names;
use proto::names::{MAX_RECEIVE_COUNT, REQUEST_MAX_BYTES};

use super::kept_results::KeptResults;
use super::photo_store::PhotoStore;
use super::sender::BatchSender;

const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// For operators' tools. Front receives dead letters with a shorter one.
const DEAD_LETTER_VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);
/// A reply is received again after this time if the first receive was lost. Front deletes what it received within milliseconds.
const REPLY_VISIBILITY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any request waits.
pub const REPLY_RETENTION: Duration = Duration::from_secs(3600);

/// The attributes of a reply queue. Courses want the same message size on both queues, and every reply fits: workers leave out
/// what clients need least.
pub const REPLY_QUEUE_ATTRIBUTES: QueueAttributes = QueueAttributes {
    visibility_timeout: REPLY_VISIBILITY_TIMEOUT,
    maximum_message_size: Some(REQUEST_MAX_BYTES),
    retention: Some(REPLY_RETENTION),
    redrive: None,
};

/// One deployment: its AWS clients, and the names of its buckets and queues.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub aws: Aws,
    pub names: Names,
}

/// The parts of AWS that requests use.
#[derive(Debug, Clone)]
pub struct Backend {
    pub photos: Arc<PhotoStore>,
    pub requests: BatchSender,
    pub kept_results: KeptResults,
    /// The name of this front's reply queue.
    pub reply_queue: String,
}

/// The queues of a deployment.
#[derive(Debug, Clone)]
pub struct Queues {
    pub requests: Queue,
    pub replies: Queue,
    pub dead_letters: Queue,
}

impl Deployment {
    /// Creates missing buckets and queues. Retries until it succeeds.
    pub async fn ensure(&self, reply_queue: &str, visibility_timeout: Duration) -> Queues {
        let mut backoff = RETRY;
        loop {
            match self.try_ensure(reply_queue, visibility_timeout).await {
                Ok(queues) => return queues,
                Err(error) => {
                    let (error, pause) = (format!("{error:#}"), backoff.next_pause());
                    tracing::warn!(error, ?pause, "buckets and queues are not ready");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn try_ensure(
        &self,
        reply_queue: &str,
        visibility_timeout: Duration,
    ) -> anyhow::Result<Queues> {
        let (in_bucket, out_bucket, replies, (requests, dead_letters)) = tokio::try_join!(
            self.ensure_bucket(self.names.in_bucket()),
            self.ensure_bucket(self.names.out_bucket()),
            self.ensure_reply_queue(reply_queue),
            self.ensure_request_queue(visibility_timeout),
        )?;
        tracing::info!(
            in_bucket,
            out_bucket,
            requests = requests.name(),
            "buckets and queues are ready"
        );
        Ok(Queues {
            requests,
            replies,
            dead_letters,
        })
    }

    async fn ensure_bucket(&self, name: String) -> anyhow::Result<String> {
        let ensured = self.aws.objects(name.clone()).ensure().await;
        ensured.with_context(|| format!("bucket {name}"))?;
        Ok(name)
    }

    /// Succeeds once the queue can be found by its name, as workers find it. SQS may need a second for that.
    async fn ensure_reply_queue(&self, name: &str) -> anyhow::Result<Queue> {
        self.ensure_queue(name.to_owned(), REPLY_QUEUE_ATTRIBUTES)
            .await?;
        let found = self.aws.queue(name).await;
        found.with_context(|| format!("queue {name}"))
    }

    async fn ensure_request_queue(
        &self,
        visibility_timeout: Duration,
    ) -> anyhow::Result<(Queue, Queue)> {
        let attributes = QueueAttributes {
            visibility_timeout: DEAD_LETTER_VISIBILITY_TIMEOUT,
            maximum_message_size: None,
            retention: None,
            redrive: None,
        };
        let dead_letters = self
            .ensure_queue(self.names.dead_letter_queue(), attributes)
            .await?;
        let attributes = QueueAttributes {
            visibility_timeout,
            maximum_message_size: Some(REQUEST_MAX_BYTES),
            retention: None,
            redrive: Some(Redrive {
                dead_letter_queue: dead_letters.clone(),
                max_receive_count: MAX_RECEIVE_COUNT,
            }),
        };
        let requests = self
            .ensure_queue(self.names.request_queue(), attributes)
            .await?;
        Ok((requests, dead_letters))
    }

    async fn ensure_queue(
        &self,
        name: String,
        attributes: QueueAttributes,
    ) -> anyhow::Result<Queue> {
        let ensured = self.aws.ensure_queue(&name, &attributes).await;
        ensured.with_context(|| format!("queue {name}"))
    }
}
