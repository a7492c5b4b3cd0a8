//! SQS: the state behind a lock, and the receives that wait for messages.

mod accesses;
mod attributes;
mod messages;
mod move_tasks;
mod query;
mod queues;
mod receive;
pub mod state;
mod store;
mod wire;

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tracing::error;

pub use accesses::SqsCall;
pub use state::SqsError;
pub use store::StoreError;

use crate::account::ACCOUNT_ID;
use crate::clock::Clock;
use crate::config::SyncPolicy;
use crate::faults::SqsFaults;
use state::{Change, Queues};
use store::Store;

/// The SQS service of one account.
#[derive(Debug)]
pub struct Sqs {
    clock: Clock,
    shared: Mutex<SqsState>,
    /// The number of waiting receives.
    waiting: AtomicUsize,
}

/// The supported actions, for metrics.
pub const ACTIONS: [&str; 23] = [
    "AddPermission",
    "CancelMessageMoveTask",
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "CreateQueue",
    "DeleteMessage",
    "DeleteMessageBatch",
    "DeleteQueue",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "ListMessageMoveTasks",
    "ListQueueTags",
    "ListQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "RemovePermission",
    "SendMessage",
    "SendMessageBatch",
    "SetQueueAttributes",
    "StartMessageMoveTask",
    "TagQueue",
    "UntagQueue",
];

#[derive(Debug)]
struct SqsState {
    queues: Queues,
    /// Wakes the waiting receives of a queue, which then check the queue again.
    waiters: HashMap<String, Arc<Notify>>,
    store: Storage,
}

/// Where the queues are stored.
#[derive(Debug)]
enum Storage {
    Memory,
    Disk(Store),
    /// The store is closed or broken: calls fail.
    Closed,
}

/// Locks the state for one call. Dropping it writes the call's changes before it unlocks.
struct Locked<'a>(MutexGuard<'a, SqsState>);

/// The JSON of a response.
type Response = Result<Vec<u8>, SqsError>;

impl Sqs {
    /// Creates a service without queues, in memory.
    pub fn new(clock: Clock, region: &str) -> Self {
        Self::with(clock, Queues::new(region), Storage::Memory)
    }

    /// Opens a service with the queues of the store in `folder`, which is created if it does not exist.
    ///
    /// # Errors
    /// Those of `Store::open`.
    pub fn open(
        clock: Clock,
        region: &str,
        folder: &Path,
        policy: SyncPolicy,
    ) -> Result<Self, StoreError> {
        let (store, snapshot) = Store::open(folder, policy)?;
        let queues = Queues::restore(region, snapshot).map_err(|error| StoreError::Damaged {
            folder: folder.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self::with(clock, queues, Storage::Disk(store)))
    }

    fn with(clock: Clock, queues: Queues, store: Storage) -> Self {
        let shared = SqsState {
            queues,
            waiters: HashMap::new(),
            store,
        };
        Self {
            clock,
            shared: Mutex::new(shared),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Replaces the faults and restarts their random streams from `seed`.
    pub fn set_faults(&self, faults: SqsFaults, seed: u64) {
        let now = self.clock.now();
        self.lock().queues.set_faults(faults, seed, now);
    }

    /// Returns the metrics in the Prometheus text format.
    pub fn prometheus(&self) -> String {
        format!(
            "# HELP localcloud_sqs_waiting_receives Receives that wait for a message.\n\
             # TYPE localcloud_sqs_waiting_receives gauge\n\
             localcloud_sqs_waiting_receives {}\n",
            self.waiting.load(Ordering::Relaxed)
        )
    }

    /// Closes the store, so that another service can open it. Later calls fail. Without a store this does nothing.
    pub fn close(&self) {
        let mut locked = self.lock();
        if matches!(locked.store, Storage::Disk(_)) {
            locked.store = Storage::Closed;
        }
    }

    /// Handles one call of the JSON protocol. Queue URLs begin with `base_url`.
    ///
    /// # Errors
    /// SQS's errors, which the caller writes in the protocol's form.
    pub async fn call(self: &Arc<Self>, action: &str, body: &[u8], base_url: &str) -> Response {
        let response = self.dispatch(action, body, base_url).await;
        self.stored().await?;
        response
    }

    async fn dispatch(self: &Arc<Self>, action: &str, body: &[u8], base_url: &str) -> Response {
        match action {
            "SendMessage" => encode(&self.send_message(decode(body)?)?),
            "ReceiveMessage" => encode(&self.receive_message(decode(body)?).await?),
            "DeleteMessage" => encode(&self.delete_message(decode(body)?)?),
            "ChangeMessageVisibility" => encode(&self.change_message_visibility(decode(body)?)?),
            "SendMessageBatch" => encode(&self.send_message_batch(decode(body)?)?),
            "DeleteMessageBatch" => encode(&self.delete_message_batch(decode(body)?)?),
            "ChangeMessageVisibilityBatch" => {
                encode(&self.change_message_visibility_batch(decode(body)?)?)
            }
            "GetQueueAttributes" => encode(&self.get_queue_attributes(decode(body)?)?),
            "SetQueueAttributes" => encode(&self.set_queue_attributes(decode(body)?)?),
            "CreateQueue" => encode(&self.create_queue(decode(body)?, base_url)?),
            "DeleteQueue" => encode(&self.delete_queue(decode(body)?)?),
            "GetQueueUrl" => encode(&self.get_queue_url(decode(body)?, base_url)?),
            "ListQueues" => encode(&self.list_queues(decode(body)?, base_url)?),
            "ListDeadLetterSourceQueues" => {
                encode(&self.list_dead_letter_source_queues(decode(body)?, base_url)?)
            }
            "PurgeQueue" => encode(&self.purge_queue(decode(body)?)?),
            "TagQueue" => encode(&self.tag_queue(decode(body)?)?),
            "UntagQueue" => encode(&self.untag_queue(decode(body)?)?),
            "ListQueueTags" => encode(&self.list_queue_tags(decode(body)?)?),
            "AddPermission" => encode(&self.add_permission(decode(body)?)?),
            "RemovePermission" => encode(&self.remove_permission(decode(body)?)?),
            "StartMessageMoveTask" => encode(&self.start_message_move_task(decode(body)?)?),
            "CancelMessageMoveTask" => encode(&self.cancel_message_move_task(decode(body)?)?),
            "ListMessageMoveTasks" => encode(&self.list_message_move_tasks(decode(body)?)?),
            other => Err(SqsError::InvalidAction(other.to_owned())),
        }
    }

    fn lock(&self) -> Locked<'_> {
        // A panic under the lock is a bug; the service stays up.
        Locked(self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Completes when all changes so far are stored as the store's policy demands.
    ///
    /// # Errors
    /// `InternalFailure` if they are not stored.
    async fn stored(&self) -> Result<(), SqsError> {
        let synced = match &self.lock().store {
            Storage::Memory => return Ok(()),
            Storage::Disk(store) => store.synced(),
            Storage::Closed => return Err(SqsError::InternalFailure),
        };
        match synced {
            Some(synced) => synced.wait().await,
            None => Ok(()),
        }
    }
}

impl Deref for Locked<'_> {
    type Target = SqsState;

    fn deref(&self) -> &SqsState {
        &self.0
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut SqsState {
        &mut self.0
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let SqsState { queues, store, .. } = &mut *self.0;
        let changes = queues.take_changes();
        let Storage::Disk(open) = store else { return };
        let written = if changes.iter().any(Change::is_bulk) {
            run_blocking(|| open.write(&changes))
        } else {
            open.write(&changes)
        };
        if let Err(error) = written {
            error!(%error, "cannot store the queues: all calls to SQS fail from now on");
            *store = Storage::Closed;
        }
    }
}

/// Runs slow work, on a multi-threaded runtime without blocking this thread's other tasks.
fn run_blocking<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

impl SqsState {
    /// Wakes one waiting receive of a queue.
    fn wake_one(&self, queue: &str) {
        if let Some(waiters) = self.waiters.get(queue) {
            waiters.notify_one();
        }
    }

    fn waiters_of(&mut self, queue: &str) -> Arc<Notify> {
        match self.waiters.get(queue) {
            Some(waiters) => Arc::clone(waiters),
            None => Arc::clone(self.waiters.entry(queue.to_owned()).or_default()),
        }
    }
}

/// Returns the name of the queue in a URL. A bare name is accepted, since some clients send one.
fn queue_name(queue_url: &Option<String>) -> Result<&str, SqsError> {
    let url = queue_url
        .as_deref()
        .ok_or(SqsError::MissingParameter("QueueUrl"))?;
    let name = url
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    if name.is_empty() {
        Err(SqsError::QueueDoesNotExist)
    } else {
        Ok(name)
    }
}

fn queue_url(base_url: &str, name: &str) -> String {
    format!("{base_url}/{ACCOUNT_ID}/{name}")
}

/// Checks a number of seconds, from 0 to `max`.
fn seconds(parameter: &str, value: i64, max: u32) -> Result<u32, SqsError> {
    u32::try_from(value)
        .ok()
        .filter(|seconds| *seconds <= max)
        .ok_or_else(|| {
            let reason = format!("Must be >= 0 and <= {max}, if provided");
            SqsError::invalid_value(parameter, value, &reason)
        })
}

/// Reads the body of a call in the JSON protocol. An empty one has no parameters.
///
/// # Errors
/// `SerializationException`.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| SqsError::SerializationError(error.to_string()))
}

fn encode<T: Serialize>(response: &T) -> Response {
    Ok(serde_json::to_vec(response).expect("every response has string keys and plain values"))
}
