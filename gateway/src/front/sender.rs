use std::sync::Arc;
use std::time::Duration;

use platform::queue::{BATCH_LIMIT, Queue, QueueError};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::{ErrorCode, RequestError};

/// Batch calls under way at once. While all are, messages gather and make fuller batches.
const CALLS: usize = 8;
/// How often a message is offered that SQS refuses while it takes others of the batch.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Sends messages in batches of whatever has gathered; nobody lingers for a batch to fill.
#[derive(Debug, Clone)]
pub struct BatchSender {
    outbox: mpsc::Sender<Letter>,
}

#[derive(Debug)]
struct Letter {
    body: String,
    sent: oneshot::Sender<Result<(), QueueError>>,
}

impl BatchSender {
    /// The task behind it ends when the last clone is dropped.
    #[must_use]
    pub fn new(queue: Queue, capacity: usize) -> Self {
        let (outbox, inbox) = mpsc::channel(capacity);
        tokio::spawn(send_all(queue, inbox));
        Self { outbox }
    }

    /// Returns once SQS has the message.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] when SQS cannot be reached or refuses; the message may have been sent all the same.
    pub async fn send(&self, body: String) -> Result<(), RequestError> {
        let (sent, result) = oneshot::channel();
        let outcome = match self.outbox.send(Letter { body, sent }).await {
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

async fn send_all(queue: Queue, mut inbox: mpsc::Receiver<Letter>) {
    let calls = Arc::new(Semaphore::new(CALLS));
    loop {
        let permit = Arc::clone(&calls)
            .acquire_owned()
            .await
            .expect("the semaphore stays open");
        let mut letters = Vec::with_capacity(BATCH_LIMIT);
        if inbox.recv_many(&mut letters, BATCH_LIMIT).await == 0 {
            return;
        }
        let queue = queue.clone();
        tokio::spawn(async move {
            send_batch(&queue, letters).await;
            drop(permit);
        });
    }
}

async fn send_batch(queue: &Queue, mut letters: Vec<Letter>) {
    for attempt in 1..=ATTEMPTS {
        let bodies = letters.iter().map(|letter| letter.body.clone()).collect();
        let results = queue.send_batch(bodies).await;
        // A call that failed as a whole was already tried again by the SDK.
        let last = attempt == ATTEMPTS || results.iter().all(Result::is_err);
        let mut refused = Vec::new();
        for (letter, result) in letters.into_iter().zip(results) {
            if result.is_err() && !last {
                refused.push(letter);
            } else {
                // The request may have reached its deadline meanwhile.
                let _ = letter.sent.send(result);
            }
        }
        if refused.is_empty() {
            return;
        }
        letters = refused;
        tokio::time::sleep(PAUSE * attempt).await;
    }
}

fn unavailable() -> RequestError {
    RequestError::new(
        ErrorCode::Unavailable,
        "the request queue cannot be reached",
    )
}
