use std::sync::Arc;
use std::time::Duration;

use platform::aws::LONGEST_POLL;
use platform::queue::{BATCH_LIMIT, Message, Queue, QueueError};
use proto::JobId;
use proto::v1::RecognitionResult;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::waiting::{Waiting, reply_of};
use crate::metric;

/// Delete calls under way at once. Replies that come while none is free are not deleted, so that no client waits for a delete.
const DELETES: usize = 32;
const DELETE_ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Receives replies, hands them to whoever waits, and deletes them.
#[derive(Debug, Clone)]
pub struct ReplyReceiver {
    queue: Queue,
    waiting: Arc<Waiting>,
    deletes: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl ReplyReceiver {
    /// Deletes run as tasks of `tasks`.
    #[must_use]
    pub fn new(queue: Queue, waiting: Arc<Waiting>, tasks: TaskTracker) -> Self {
        Self {
            queue,
            waiting,
            deletes: Arc::new(Semaphore::new(DELETES)),
            tasks,
        }
    }

    /// Long-polls until `stop`. Stop it only when nobody waits any more: a receive that is given up half way may hide
    /// replies until their visibility timeout.
    pub async fn receive_until(self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let received = self.queue.receive(BATCH_LIMIT, LONGEST_POLL);
            match stop.run_until_cancelled(received).await {
                None => return,
                Some(Ok(messages)) => {
                    pause = FIRST_PAUSE;
                    self.take_in(messages);
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, ?pause, "replies cannot be received");
                    if stop
                        .run_until_cancelled(tokio::time::sleep(pause))
                        .await
                        .is_none()
                    {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn take_in(&self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        for message in &messages {
            self.hand_over(&message.body);
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

    fn hand_over(&self, body: &str) {
        let decoded = proto::decode::<RecognitionResult>(body);
        let parsed = decoded
            .map_err(|error| error.to_string())
            .and_then(|result| {
                let id: JobId = result.job_id.parse().map_err(|error| format!("{error}"))?;
                let instance = result.instance_id.clone();
                let reply = reply_of(result).ok_or("it has no outcome")?;
                Ok((id, instance, reply))
            });
        match parsed {
            Ok((id, instance, reply)) => {
                if !self.waiting.answer(id, reply) {
                    metric::LATE_REPLIES.counter().increment(1);
                    tracing::info!(job_id = %id, instance, "dropped a reply that nobody waits for");
                }
            }
            Err(error) => {
                metric::UNDECODABLE_REPLIES.counter().increment(1);
                tracing::warn!(
                    error,
                    "dropped a message on the reply queue that is no reply"
                );
            }
        }
    }
}

/// A reply that cannot be deleted comes again and is dropped then, so giving up is safe.
async fn delete(queue: &Queue, handles: Vec<String>) {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=DELETE_ATTEMPTS {
        match queue.delete_batch(handles.clone()).await {
            Ok(()) | Err(QueueError::NotFound(_)) => return,
            Err(error) => tracing::warn!(%error, attempt, "replies cannot be deleted"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
