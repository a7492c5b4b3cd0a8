use std::sync::Arc;
use std::time::Duration;

use platform::aws::LONGEST_POLL;
use platform::backoff::Backoff;
use platform::queue::{BATCH_LIMIT, Batcher, Message, Queue, Wait};
use proto::JobId;
use proto::v1::RecognitionResult;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::kept_results::KeptResults;
use super::pending::Replied;
use super::registry::{Reply, RequestRegistry, reply_of};
use super::videos::FrameQueue;
use crate::metric;

/// How long a reply that was delivered waits for others to be deleted with it.
const DELETE_WAIT: Duration = Duration::from_millis(50);
/// Deletes that wait. Replies beyond them stay undeleted, so that no client waits for a delete. One that is received again
/// is dropped.
const DELETES: usize = 4000;
/// Late replies that are put into the object store at once.
const KEEPS: usize = 32;
/// Pause after several replies at once: more are about to come, and one call receives them together.
const GATHERING: Duration = Duration::from_millis(2);
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Receives replies, delivers them to the requests that wait, and deletes them.
#[derive(Debug, Clone)]
pub struct ReplyReceiver {
    queue: Queue,
    registry: Arc<RequestRegistry>,
    frames: Arc<FrameQueue>,
    kept: KeptResults,
    /// Late replies that are kept at the moment.
    keeps: Arc<Semaphore>,
    deletes: Batcher,
    /// Receive calls at once besides the one that waits.
    helpers: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// A reply that no request waits for.
type Late = (JobId, RecognitionResult);

impl ReplyReceiver {
    /// At most `calls` receive calls are in flight at once. They and the deletes run in `tasks`.
    #[must_use]
    pub fn new(
        queue: Queue,
        registry: Arc<RequestRegistry>,
        frames: Arc<FrameQueue>,
        kept: KeptResults,
        calls: usize,
        tasks: TaskTracker,
    ) -> Self {
        let (deletes, deleting) = Batcher::deletes(queue.clone(), DELETE_WAIT, DELETES);
        tasks.spawn(deleting);
        Self {
            queue,
            registry,
            frames,
            kept,
            keeps: Arc::new(Semaphore::new(KEEPS)),
            deletes,
            helpers: Arc::new(Semaphore::new(calls.saturating_sub(1))),
            tasks,
        }
    }

    /// Long-polls until `stop`. Stop it only when no request waits: a receive that is dropped may hide replies until their
    /// visibility timeout.
    pub async fn receive_until(self, stop: CancellationToken) {
        let mut backoff = RETRY;
        loop {
            let received = self.queue.receive(BATCH_LIMIT, LONGEST_POLL);
            let pause = match stop.run_until_cancelled(received).await {
                None => return,
                Some(Ok(messages)) => {
                    backoff.reset();
                    let count = messages.len();
                    self.process(messages);
                    match count {
                        0 | 1 => continue,
                        BATCH_LIMIT => {
                            self.spawn_helper();
                            continue;
                        }
                        _ => GATHERING,
                    }
                }
                Some(Err(error)) => {
                    let pause = backoff.next_pause();
                    tracing::warn!(%error, ?pause, "replies cannot be received");
                    pause
                }
            };
            let paused = stop.run_until_cancelled(tokio::time::sleep(pause));
            if paused.await.is_none() {
                return;
            }
        }
    }

    /// Receives beside the call that waits, for as long as calls come back full. One that always waited would halve the
    /// replies of each call.
    fn spawn_helper(&self) {
        let Ok(permit) = Arc::clone(&self.helpers).try_acquire_owned() else {
            return;
        };
        let receiver = self.clone();
        self.tasks.spawn(async move {
            let mut is_full = true;
            while is_full {
                let received = receiver.queue.receive(BATCH_LIMIT, Duration::ZERO).await;
                // The receiver that waits sees the same error, and logs it.
                let messages = received.unwrap_or_default();
                is_full = messages.len() == BATCH_LIMIT;
                receiver.process(messages);
            }
            drop(permit);
        });
    }

    fn process(&self, messages: Vec<Message>) {
        for message in messages {
            match self.deliver(&message.body) {
                None => {
                    self.deletes.post(message.receipt_handle, Wait::ForOthers);
                }
                Some(reply) => self.keep(reply, message.receipt_handle),
            }
        }
    }

    /// Keeps a late reply, and deletes its message then. A reply beyond the limit is received again.
    fn keep(&self, (id, result): Late, receipt_handle: String) {
        let Ok(permit) = Arc::clone(&self.keeps).try_acquire_owned() else {
            return;
        };
        let (kept, deletes) = (self.kept.clone(), self.deletes.clone());
        self.tasks.spawn(async move {
            match kept.keep(id, &result).await {
                Ok(()) => {
                    deletes.post(receipt_handle, Wait::ForOthers);
                }
                Err(error) => tracing::warn!(%error, "a late reply cannot be kept"),
            }
            drop(permit);
        });
    }

    /// Returns the reply to a photo that no request waits for.
    fn deliver(&self, body: &str) -> Option<Late> {
        match parse(body) {
            Ok(WorkerReply { id, result, reply }) => {
                self.frames.heard_of(&result.instance_id);
                if self.frames.is_waiting_for(id) {
                    self.frames.finish(id, reply);
                    return None;
                }
                let replied = self.registry.reply(id, reply);
                if replied == Replied::Waited(()) {
                    return None;
                }
                metric::LATE_REPLIES.get().increment(1);
                tracing::error_span!("request", request_id = %id).in_scope(|| {
                    let instance = &result.instance_id;
                    tracing::info!(instance, ?replied, "no request waits for a reply");
                });
                return (replied == Replied::Late).then_some((id, result));
            }
            Err(error) => {
                metric::UNDECODABLE_REPLIES.get().increment(1);
                tracing::warn!(error, "dropped an undecodable message on the reply queue");
            }
        }
        None
    }
}

/// A worker's reply to a job.
#[derive(Debug)]
pub struct WorkerReply {
    pub id: JobId,
    /// The whole message.
    pub result: RecognitionResult,
    pub reply: Reply,
}

/// Parses a message on the reply queue.
///
/// # Errors
/// Why it is no reply.
pub fn parse(body: &str) -> Result<WorkerReply, String> {
    let decoded = proto::decode::<RecognitionResult>(body);
    let result = decoded.map_err(|error| error.to_string())?;
    let id = result.job_id.parse().map_err(|error| format!("{error}"))?;
    let reply = reply_of(result.clone()).ok_or("it has no outcome")?;
    Ok(WorkerReply { id, result, reply })
}
