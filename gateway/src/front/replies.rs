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

use super::kept_results::KeptResults;
use super::pending::Replied;
use super::registry::{RequestRegistry, reply_of};
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
    kept: KeptResults,
    deletes: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// A reply that no request waits for.
type Late = (JobId, RecognitionResult);

impl ReplyReceiver {
    /// Deletes run in `tasks`.
    #[must_use]
    pub fn new(
        queue: Queue,
        registry: Arc<RequestRegistry>,
        frames: Arc<FrameQueue>,
        kept: KeptResults,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            queue,
            registry,
            frames,
            kept,
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
        let mut handles = Vec::with_capacity(messages.len());
        let mut late = Vec::new();
        for message in messages {
            match self.deliver(&message.body) {
                None => handles.push(message.receipt_handle),
                Some(reply) => late.push((reply, message.receipt_handle)),
            }
        }
        let Ok(permit) = Arc::clone(&self.deletes).try_acquire_owned() else {
            return;
        };
        let (queue, kept) = (self.queue.clone(), self.kept.clone());
        self.tasks.spawn(async move {
            for ((id, result), handle) in late {
                match kept.keep(id, &result).await {
                    Ok(()) => handles.push(handle),
                    // It is received again.
                    Err(error) => tracing::warn!(%error, "a late reply cannot be kept"),
                }
            }
            if !handles.is_empty() {
                delete(&queue, handles).await;
            }
            drop(permit);
        });
    }

    /// Returns the reply to a photo that no request waits for.
    fn deliver(&self, body: &str) -> Option<Late> {
        let decoded = proto::decode::<RecognitionResult>(body);
        let parsed = decoded
            .map_err(|error| error.to_string())
            .and_then(|result| {
                let id: JobId = result.job_id.parse().map_err(|error| format!("{error}"))?;
                let reply = reply_of(result.clone()).ok_or("it has no outcome")?;
                Ok((id, result, reply))
            });
        match parsed {
            Ok((id, result, reply)) => {
                self.frames.heard_of(&result.instance_id);
                if self.frames.is_waiting_for(id) {
                    self.frames.finish(id, reply);
                    return None;
                }
                let replied = self.registry.reply(id, reply);
                if replied == Replied::Waited(()) {
                    return None;
                }
                metric::LATE_REPLIES.get().increment(1);
                tracing::error_span!("request", request_id = %id).in_scope(|| {
                    let instance = &result.instance_id;
                    tracing::info!(instance, ?replied, "no request waits for a reply");
                });
                return (replied == Replied::Late).then_some((id, result));
            }
            Err(error) => {
                metric::UNDECODABLE_REPLIES.get().increment(1);
                tracing::warn!(error, "dropped an undecodable message on the reply queue");
            }
        }
        None
    }
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
