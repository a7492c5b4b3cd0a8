use std::sync::Arc;
use std::time::Duration;

use platform::aws::LONGEST_POLL;
use platform::backoff::Backoff;
use platform::queue::{BATCH_LIMIT, Message, Queue, QueueError};
use proto::JobId;
use proto::v1::RecognitionResult;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::registry::{Reply, RequestRegistry, reply_of};
use super::videos::FrameQueue;
use crate::metric;

/// Delete calls under way at once. Replies beyond them stay undeleted, so that no client waits for a delete.
const DELETES: usize = 32;
const DELETE_ATTEMPTS: u32 = 4;
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Receives replies, delivers them to the requests that wait, and deletes them.
#[derive(Debug, Clone)]
pub struct ReplyReceiver {
    queue: Queue,
    registry: Arc<RequestRegistry>,
    frames: Arc<FrameQueue>,
    deletes: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl ReplyReceiver {
    /// Deletes run in `tasks`.
    #[must_use]
    pub fn new(
        queue: Queue,
        registry: Arc<RequestRegistry>,
        frames: Arc<FrameQueue>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            queue,
            registry,
            frames,
            deletes: Arc::new(Semaphore::new(DELETES)),
            tasks,
        }
    }

    /// Long-polls until `stop`. Stop it only when no request waits: a receive that is dropped may hide replies until their
    /// visibility timeout.
    pub async fn receive_until(self, stop: CancellationToken) {
        let mut backoff = RETRY;
        loop {
            let received = self.queue.receive(BATCH_LIMIT, LONGEST_POLL);
            match stop.run_until_cancelled(received).await {
                None => return,
                Some(Ok(messages)) => {
                    backoff.reset();
                    self.process(messages);
                }
                Some(Err(error)) => {
                    let pause = backoff.next_pause();
                    tracing::warn!(%error, ?pause, "replies cannot be received");
                    let paused = stop.run_until_cancelled(tokio::time::sleep(pause));
                    if paused.await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    fn process(&self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        for message in &messages {
            self.deliver(&message.body);
        }
        let handles = messages
            .into_iter()
            .map(|message| message.receipt_handle)
            .collect();
        let Ok(permit) = Arc::clone(&self.deletes).try_acquire_owned() else {
            return;
        };
        let queue = self.queue.clone();
        self.tasks.spawn(async move {
            delete(&queue, handles).await;
            drop(permit);
        });
    }

    fn deliver(&self, body: &str) {
        match parse(body) {
            Ok(WorkerReply {
                id,
                instance,
                reply,
            }) => {
                self.frames.heard_of(&instance);
                if self.frames.is_waiting_for(id) {
                    self.frames.finish(id, reply);
                } else if !self.registry.finish(id, reply) {
                    metric::LATE_REPLIES.get().increment(1);
                    tracing::error_span!("request", request_id = %id).in_scope(|| {
                        tracing::info!(instance, "dropped a late or duplicate reply");
                    });
                }
            }
            Err(error) => {
                metric::UNDECODABLE_REPLIES.get().increment(1);
                tracing::warn!(error, "dropped an undecodable message on the reply queue");
            }
        }
    }
}

/// A worker's reply to a job.
#[derive(Debug)]
pub struct WorkerReply {
    pub id: JobId,
    pub instance: String,
    pub reply: Reply,
}

/// Parses a message on the reply queue.
///
/// # Errors
/// Why it is no reply.
pub fn parse(body: &str) -> Result<WorkerReply, String> {
    let decoded = proto::decode::<RecognitionResult>(body);
    let result = decoded.map_err(|error| error.to_string())?;
    let id = result.job_id.parse().map_err(|error| format!("{error}"))?;
    let instance = result.instance_id.clone();
    let reply = reply_of(result).ok_or("it has no outcome")?;
    Ok(WorkerReply {
        id,
        instance,
        reply,
    })
}

/// Gives up after some attempts: a reply that is received again is dropped.
async fn delete(queue: &Queue, handles: Vec<String>) {
    let mut backoff = RETRY;
    for attempt in 1..=DELETE_ATTEMPTS {
        match queue.delete_batch(handles.clone()).await {
            Ok(()) | Err(QueueError::NotFound(_)) => return,
            Err(error) => tracing::warn!(%error, attempt, "replies cannot be deleted"),
        }
        tokio::time::sleep(backoff.next_pause()).await;
    }
}
