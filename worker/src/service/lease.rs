use std::time::Duration;

use platform::queue::{Message, Queue};
use tokio::task::JoinHandle;

/// Keeps a message hidden from other workers for as long as it is held: the visibility timeout is extended every third
/// of its length. Dropping the lease ends that; the message then comes back by itself unless it was deleted.
#[derive(Debug)]
pub struct Lease {
    extending: JoinHandle<()>,
}

impl Lease {
    /// `visibility_timeout` is what the message was received with; SQS counts whole seconds.
    pub fn hold(queue: &Queue, message: &Message, visibility_timeout: Duration) -> Self {
        let queue = queue.clone();
        let receipt_handle = message.receipt_handle.clone();
        let extending = tokio::spawn(async move {
            let period = visibility_timeout / 3;
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            loop {
                ticks.tick().await;
                // The next tick tries again while there is still time; after that the message is simply redelivered.
                if let Err(error) = queue
                    .change_visibility(&receipt_handle, visibility_timeout)
                    .await
                {
                    tracing::warn!(%error, "cannot extend the visibility timeout");
                }
            }
        });
        Self { extending }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.extending.abort();
    }
}
