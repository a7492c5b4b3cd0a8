//! Deletes the messages of jobs that were replied to, several with one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use platform::queue::{Batcher, Queue, Wait};
use tokio::task::JoinSet;
use tracing::{Instrument, Span};

use super::lease::Lease;

/// How long a message waits for others to be deleted with it. No client waits for it.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Messages that wait for a call. Further ones wait for room.
const CAPACITY: usize = 64;

/// A message whose reply is sent. It stays hidden until it is deleted.
#[derive(Debug)]
pub struct Settled {
    pub receipt_handle: String,
    pub lease: Lease,
    /// The span of the delete.
    pub span: Span,
}

/// The messages that are to be deleted.
#[derive(Debug)]
pub struct Deletes {
    batcher: Batcher,
    /// Whether no message waits for others.
    is_hurried: Arc<AtomicBool>,
    in_flight: JoinSet<()>,
}

impl Deletes {
    pub fn new(requests: Queue) -> Self {
        let (batcher, making_calls) = Batcher::deletes(requests, LONGEST_WAIT, CAPACITY);
        tokio::spawn(making_calls);
        Self {
            batcher,
            is_hurried: Arc::default(),
            in_flight: JoinSet::new(),
        }
    }

    pub fn add(&mut self, settled: Settled) {
        let (batcher, is_hurried) = (self.batcher.clone(), Arc::clone(&self.is_hurried));
        let Settled {
            receipt_handle,
            lease,
            span,
        } = settled;
        let deleting = async move {
            let wait = match is_hurried.load(Ordering::Relaxed) {
                true => Wait::No,
                false => Wait::ForOthers,
            };
            // If the message stays, it is processed again, and front drops the second reply.
            if let Err(error) = batcher.put(receipt_handle, wait).await {
                tracing::warn!(%error, "cannot delete a message");
            }
            drop(lease);
        };
        self.in_flight.spawn(deleting.instrument(span));
    }

    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Sets whether messages are deleted at once, also those that wait, or wait for others.
    pub fn hurry(&self, is_hurried: bool) {
        self.is_hurried.store(is_hurried, Ordering::Relaxed);
        if is_hurried && !self.is_empty() {
            self.batcher.flush();
        }
    }

    /// Returns when a delete has ended, and `None` without any.
    pub async fn next(&mut self) -> Option<()> {
        self.in_flight.join_next().await.map(drop)
    }
}

#[cfg(test)]
mod tests;
