use std::sync::Arc;
use std::time::Duration;

use platform::backoff::Backoff;
use platform::queue::{BATCH_LIMIT, Queue, QueueError};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::{ErrorCode, RequestError};

/// Batch calls under way at once. Further messages wait and fill the next batches.
const CALLS: usize = 8;
/// Attempts at a message that SQS refuses while it accepts others of the batch.
const ATTEMPTS: u32 = 3;
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// Sends messages in batches of those that wait. A call never waits for its batch to fill.
#[derive(Debug, Clone)]
pub struct BatchSender {
    queue: Arc<str>,
    outbox: mpsc::Sender<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    body: String,
    sent: oneshot::Sender<Result<(), QueueError>>,
}

impl BatchSender {
    /// Spawns a task that ends when the last clone is dropped.
    #[must_use]
    pub fn new(queue: Queue, capacity: usize) -> Self {
        let (outbox, inbox) = mpsc::channel(capacity);
        let name = queue.name().into();
        tokio::spawn(send_all(queue, inbox));
        Self {
            queue: name,
            outbox,
        }
    }

    /// The queue's name.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Returns once SQS has the message.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] when SQS cannot be reached or refuses. The message may have been sent nevertheless.
    pub async fn send(&self, body: String) -> Result<(), RequestError> {
        let (sent, result) = oneshot::channel();
        let outcome = match self.outbox.send(Outgoing { body, sent }).await {
            Ok(()) => result.await,
            Err(_) => return Err(unavailable()),
        };
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a job could not be sent");
                Err(unavailable())
            }
            Err(_) => Err(unavailable()),
        }
    }
}

async fn send_all(queue: Queue, mut inbox: mpsc::Receiver<Outgoing>) {
    let calls = Arc::new(Semaphore::new(CALLS));
    loop {
        let permit = Arc::clone(&calls)
            .acquire_owned()
            .await
            .expect("the semaphore stays open");
        let mut messages = Vec::with_capacity(BATCH_LIMIT);
        if inbox.recv_many(&mut messages, BATCH_LIMIT).await == 0 {
            return;
        }
        let queue = queue.clone();
        tokio::spawn(async move {
            send_batch(&queue, messages).await;
            drop(permit);
        });
    }
}

async fn send_batch(queue: &Queue, mut messages: Vec<Outgoing>) {
    let mut backoff = RETRY;
    for attempt in 1..=ATTEMPTS {
        let bodies = messages
            .iter()
            .map(|message| message.body.clone())
            .collect();
        let results = queue.send_batch(bodies).await;
        // The SDK has already retried a call that failed as a whole.
        let last = attempt == ATTEMPTS || results.iter().all(Result::is_err);
        let mut refused = Vec::new();
        for (message, result) in messages.into_iter().zip(results) {
            if result.is_err() && !last {
                refused.push(message);
            } else {
                // The request may have ended at its deadline.
                let _ = message.sent.send(result);
            }
        }
        if refused.is_empty() {
            return;
        }
        messages = refused;
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

fn unavailable() -> RequestError {
    RequestError::new(
        ErrorCode::Unavailable,
        "the request queue cannot be reached",
    )
}
