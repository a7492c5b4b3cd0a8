use std::time::Duration;

use platform::queue::{Batcher, Queue, Wait};

use crate::error::{ErrorCode, RequestError};

/// How long a message waits for a call in flight to end, or among several for others.
const LONGEST_WAIT: Duration = Duration::from_millis(5);

/// Sends messages in batches. A message that comes while no call is in flight goes at once.
#[derive(Debug, Clone)]
pub struct BatchSender(Batcher);

impl BatchSender {
    /// Spawns a task that ends when the last clone is dropped.
    #[must_use]
    pub fn new(queue: Queue, capacity: usize) -> Self {
        let (batcher, making_calls) = Batcher::sends(queue, LONGEST_WAIT, capacity);
        tokio::spawn(making_calls);
        Self(batcher)
    }

    /// Returns the queue's name.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.0.queue()
    }

    /// Returns once SQS has the message.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] when SQS cannot be reached or refuses. The message may have been sent nevertheless.
    pub async fn send(&self, body: String) -> Result<(), RequestError> {
        let sent = self.0.put(body, Wait::ForCalls).await;
        sent.map_err(|error| {
            tracing::warn!(%error, "a job could not be sent");
            let message = "the request queue cannot be reached";
            RequestError::new(ErrorCode::Unavailable, message)
        })
    }
}
