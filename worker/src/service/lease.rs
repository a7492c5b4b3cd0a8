//! Keeps a message hidden from other workers while its job runs.

use std::time::Duration;

use platform::queue::{Message, Queue};
use tokio::task::JoinHandle;
use tracing::Instrument;

/// The shortest visibility timeout that leaves time to extend it.
pub const SHORTEST: Duration = Duration::from_secs(3);

/// Returns how long after the receive, and after each extension, a message's visibility timeout is extended.
#[must_use]
pub fn extension_period(visibility_timeout: Duration) -> Duration {
    visibility_timeout / 3
}

/// Extends a message's visibility timeout every third of its length. Once the lease is dropped, the message returns to
/// the queue by itself unless it was deleted.
#[derive(Debug)]
pub struct Lease {
    extending: JoinHandle<()>,
}

impl Lease {
    /// `visibility_timeout` is the queue's own, at least [`SHORTEST`].
    pub fn hold(queue: &Queue, message: &Message, visibility_timeout: Duration) -> Self {
        let queue = queue.clone();
        let receipt_handle = message.receipt_handle.clone();
        let extending = async move {
            let period = extension_period(visibility_timeout);
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A call that hangs is given up while there is still time to try again.
                let extension = queue.change_visibility(&receipt_handle, visibility_timeout);
                match tokio::time::timeout(period, extension).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "cannot extend the visibility timeout");
                    }
                    Err(_) => tracing::warn!("extending the visibility timeout takes too long"),
                }
            }
        };
        Self {
            extending: tokio::spawn(extending.in_current_span()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.extending.abort();
    }
}
