//! Sends replies. Those to one queue go out together while other jobs are in flight.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::aws::Aws;
use platform::queue::{Batcher, QueueError, Wait};

use super::receive_policy::MANY_JOBS;

/// Bound of the cache of reply queues. Each front has one.
const MAX_QUEUES: usize = 64;
/// How long a reply waits for those of jobs in flight.
const LONGEST_WAIT: Duration = Duration::from_millis(5);
/// Replies that wait. Jobs beyond them wait for room.
const CAPACITY: usize = 64;

/// The reply queues of all fronts.
#[derive(Debug)]
pub struct Replies {
    aws: Aws,
    /// By the queue's name, opened at its first use.
    queues: Mutex<HashMap<String, Batcher>>,
    unreplied: AtomicUsize,
}

/// A job in flight that has no reply yet.
#[derive(Debug)]
#[must_use = "it counts while it is held"]
pub struct Unreplied<'a>(&'a AtomicUsize);

impl Replies {
    pub fn new(aws: Aws) -> Self {
        Self {
            aws,
            queues: Mutex::default(),
            unreplied: AtomicUsize::new(0),
        }
    }

    /// Counts a job until its reply is sent.
    pub fn job(&self) -> Unreplied<'_> {
        self.unreplied.fetch_add(1, Ordering::Relaxed);
        Unreplied(&self.unreplied)
    }

    /// Sends the reply of `job`. Returns once SQS has it.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] when the queue ended with its front, and [`QueueError::Unavailable`].
    pub async fn send(
        &self,
        queue: &str,
        body: String,
        job: Unreplied<'_>,
    ) -> Result<(), QueueError> {
        let batcher = self.batcher(queue).await?;
        drop(job);
        let sent = batcher.put(body, self.wait()).await;
        if matches!(sent, Err(QueueError::NotFound(_))) {
            self.queues().remove(queue);
        }
        sent
    }

    /// The last job in flight takes all replies with it that wait.
    fn wait(&self) -> Wait {
        match self.unreplied.load(Ordering::Relaxed) {
            0 => Wait::No,
            others if others < MANY_JOBS => Wait::ForCalls,
            _ => Wait::ForOthers,
        }
    }

    /// Jobs that miss the same queue at once each open it, which does no harm.
    async fn batcher(&self, queue: &str) -> Result<Batcher, QueueError> {
        if let Some(known) = self.queues().get(queue) {
            return Ok(known.clone());
        }
        let opened = self.aws.queue(queue).await?;
        let mut known = self.queues();
        if known.len() >= MAX_QUEUES {
            known.clear();
        }
        let batcher = known.entry(queue.to_owned()).or_insert_with(|| {
            let (batcher, making_calls) = Batcher::sends(opened, LONGEST_WAIT, CAPACITY);
            tokio::spawn(making_calls);
            batcher
        });
        Ok(batcher.clone())
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<String, Batcher>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unreplied<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
