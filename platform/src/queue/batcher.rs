//! Gathers messages to send, or messages to delete, into batch calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{BATCH_LIMIT, Queue, QueueError};
use crate::backoff::Backoff;

/// Batch calls in flight at once. Further entries wait and fill the next batches.
const CALLS: usize = 8;
/// From so many entries that meet on, it pays to wait for others.
const SEVERAL: usize = 4;
/// Attempts at an entry that SQS refuses while it accepts others of the batch.
const ATTEMPTS: u32 = 3;
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// Makes one call for the entries that wait at the same time, at most [`BATCH_LIMIT`]. How long an entry waits for others is
/// its own choice, a [`Wait`]; a full batch goes at once.
#[derive(Debug, Clone)]
pub struct Batcher {
    queue: Arc<str>,
    inbox: mpsc::Sender<Item>,
}

/// What an entry waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// For other entries, up to the batcher's longest wait.
    ForOthers,
    /// For the calls in flight to end, up to the batcher's longest wait. Without a call in flight it goes at once. Several
    /// entries that have met wait for others, as [`Wait::ForOthers`]: more are about to come.
    ForCalls,
    /// For nothing: it goes at once, together with the entries that wait.
    No,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Send,
    Delete,
}

#[derive(Debug)]
enum Item {
    Entry(Entry, Wait),
    Flush,
}

#[derive(Debug)]
struct Entry {
    /// The body of a message to send, or the receipt handle of one to delete.
    text: String,
    done: oneshot::Sender<Result<(), QueueError>>,
}

impl Batcher {
    /// Returns a batcher that sends messages, and the future that makes its calls. The future ends after the last call
    /// once all clones of the batcher are dropped.
    pub fn sends(
        queue: Queue,
        longest_wait: Duration,
        capacity: usize,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::new(queue, Action::Send, longest_wait, capacity)
    }

    /// Returns the same as [`Batcher::sends`], of receipt handles whose messages are to be deleted.
    pub fn deletes(
        queue: Queue,
        longest_wait: Duration,
        capacity: usize,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::new(queue, Action::Delete, longest_wait, capacity)
    }

    fn new(
        queue: Queue,
        action: Action,
        longest_wait: Duration,
        capacity: usize,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (inbox, items) = mpsc::channel(capacity);
        let batcher = Self {
            queue: queue.name().into(),
            inbox,
        };
        (batcher, make_calls(queue, action, longest_wait, items))
    }

    /// Returns the queue's name.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Returns once SQS has accepted the entry.
    ///
    /// # Errors
    /// When SQS cannot be reached or refuses. The call may have succeeded nevertheless.
    pub async fn put(&self, text: String, wait: Wait) -> Result<(), QueueError> {
        let (done, result) = oneshot::channel();
        let ended = || QueueError::Unavailable("the batcher has ended".to_owned());
        let sent = self.inbox.send(Item::Entry(Entry { text, done }, wait));
        sent.await.map_err(|_| ended())?;
        result.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Leaves an entry whose result is of no interest. Returns `false` when there is no room for it.
    pub fn post(&self, text: String, wait: Wait) -> bool {
        let (done, _) = oneshot::channel();
        let item = Item::Entry(Entry { text, done }, wait);
        self.inbox.try_send(item).is_ok()
    }

    /// Ends the wait of all entries.
    pub fn flush(&self) {
        // Without room for it there are so many entries that batches are full.
        let _ = self.inbox.try_send(Item::Flush);
    }
}

/// The entries of the next batch.
#[derive(Debug)]
struct Waiting {
    entries: Vec<Entry>,
    /// The shortest wait of them.
    wait: Wait,
    /// When the first of them has waited long enough.
    until: Instant,
}

impl Waiting {
    fn none() -> Self {
        Self {
            entries: Vec::with_capacity(BATCH_LIMIT),
            wait: Wait::ForOthers,
            until: Instant::now(),
        }
    }

    fn add(&mut self, item: Item, until: Instant) {
        match item {
            Item::Entry(entry, wait) => {
                if self.entries.is_empty() {
                    self.until = until;
                }
                self.wait = self.wait.max(wait);
                self.entries.push(entry);
            }
            Item::Flush if self.entries.is_empty() => {}
            Item::Flush => self.wait = Wait::No,
        }
    }

    fn room(&self) -> usize {
        BATCH_LIMIT - self.entries.len()
    }

    /// Returns whether the entries go now, with `calls` in flight.
    fn is_due(&self, now: Instant, calls: usize) -> bool {
        let is_over = match self.wait {
            Wait::ForOthers => false,
            Wait::ForCalls => calls == 0 && self.entries.len() < SEVERAL,
            Wait::No => true,
        };
        !self.entries.is_empty() && (is_over || self.room() == 0 || now >= self.until)
    }
}

async fn make_calls(
    queue: Queue,
    action: Action,
    longest_wait: Duration,
    mut items: mpsc::Receiver<Item>,
) {
    let (mut waiting, mut calls, mut is_open) = (Waiting::none(), JoinSet::new(), true);
    let mut received = Vec::with_capacity(BATCH_LIMIT);
    while is_open || !waiting.entries.is_empty() || !calls.is_empty() {
        let is_due = waiting.is_due(Instant::now(), calls.len());
        if is_due && calls.len() < CALLS {
            let batch = std::mem::replace(&mut waiting, Waiting::none());
            calls.spawn(make_call(queue.clone(), action, batch.entries));
            continue;
        }
        let room = waiting.room();
        tokio::select! {
            count = items.recv_many(&mut received, room), if is_open && room > 0 => {
                if count == 0 {
                    is_open = false;
                    waiting.add(Item::Flush, Instant::now());
                }
                for item in received.drain(..) {
                    waiting.add(item, Instant::now() + longest_wait);
                }
            }
            Some(_) = calls.join_next() => {}
            () = tokio::time::sleep_until(waiting.until), if !is_due && !waiting.entries.is_empty() => {}
        }
    }
}

async fn make_call(queue: Queue, action: Action, mut entries: Vec<Entry>) {
    let mut backoff = RETRY;
    for attempt in 1..=ATTEMPTS {
        let texts = entries.iter().map(|entry| entry.text.clone()).collect();
        let results = match action {
            Action::Send => queue.send_batch(texts).await,
            Action::Delete => queue.delete_each(texts).await,
        };
        // The SDK has already retried a call that failed as a whole.
        let last = attempt == ATTEMPTS || results.iter().all(Result::is_err);
        let mut refused = Vec::new();
        for (entry, result) in entries.into_iter().zip(results) {
            if result.is_err() && !last {
                refused.push(entry);
            } else {
                // Without a caller that waits, only the log tells.
                if let Err(Err(error)) = entry.done.send(result) {
                    tracing::warn!(%error, "a call for several messages failed");
                }
            }
        }
        if refused.is_empty() {
            return;
        }
        entries = refused;
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

#[cfg(test)]
mod tests;
