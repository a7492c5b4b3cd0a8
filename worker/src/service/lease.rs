use std::time::Duration;

use platform::queue::{Message, Queue};
use tokio::task::JoinHandle;

/// Below this there is no time to extend a visibility timeout.
pub const SHORTEST: Duration = Duration::from_secs(3);

/// Keeps a message hidden from other workers for as long as it is held: the visibility timeout is extended every third
/// of its length. Dropping the lease ends that; the message then comes back by itself unless it was deleted.
#[derive(Debug)]
pub struct Lease {
    extending: JoinHandle<()>,
}

impl Lease {
    /// `visibility_timeout` is the queue's own, at least [`SHORTEST`].
    pub fn hold(queue: &Queue, message: &Message, visibility_timeout: Duration) -> Self {
        let queue = queue.clone();
        let receipt_handle = message.receipt_handle.clone();
        let extending = tokio::spawn(async move {
            let period = visibility_timeout / 3;
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A call that hangs is given up, so that the next tick tries again while there is still time.
                let extension = queue.change_visibility(&receipt_handle, visibility_timeout);
                match tokio::time::timeout(period, extension).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "cannot extend the visibility timeout");
                    }
                    Err(_) => tracing::warn!("extending the visibility timeout takes too long"),
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
