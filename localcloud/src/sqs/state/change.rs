//! What a call changed, so that a store can keep it. The state says what changed; where that goes is not its business.
//!
//! The types that derive serde's traits are written to disk as they are: a change to them is a new format of the store.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::message::NewMessage;
use super::settings::AttributeMap;
use crate::clock::Millis;

/// One change of the queues. Applied in order to what was saved before, changes give what `Queues::saved` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A queue is new, or something of it other than its messages is.
    Queue(QueueRecord),
    /// A queue is gone, with all its messages.
    QueueDeleted { incarnation: u64 },
    /// A queue lost all its messages.
    Purged { incarnation: u64 },
    /// A message is new.
    Message {
        place: Place,
        content: MessageContent,
        state: MessageState,
    },
    /// A message was received, hidden, or the like.
    State { place: Place, state: MessageState },
    /// A message is gone.
    MessageRemoved { place: Place },
}

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The incarnation of its queue.
    pub incarnation: u64,
    /// Its number in the queue.
    pub sequence: u64,
}

/// A queue without its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    pub incarnation: u64,
    pub name: String,
    /// The settings as `QueueSettings::attributes` writes them.
    pub attributes: AttributeMap,
    pub tags: AttributeMap,
    pub created: Millis,
    pub modified: Millis,
    pub purged: Option<Millis>,
    /// No message has this sequence number yet, nor a greater one.
    pub sequence_limit: u64,
}

/// What never changes of a message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageContent {
    pub message: Arc<NewMessage>,
    pub sent: Millis,
    /// The ARN of the queue that gave the message up, when this one is a dead-letter queue.
    pub dead_letter_source_arn: Option<Arc<str>>,
}

/// What changes of a message in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageState {
    pub phase: Phase,
    /// 0 before the first receive.
    pub first_received: Millis,
    pub receive_count: u32,
    /// It was deleted and came back, or will; it does not do that twice.
    pub returned: bool,
}

/// Whether a message can be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Available,
    Delayed {
        until: Millis,
    },
    InFlight {
        until: Millis,
        /// It can be received although it is in flight.
        duplicate: bool,
    },
    /// Deleted, yet it comes back.
    Deleted {
        until: Millis,
    },
}

/// All that is needed to go on where another `Queues` ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// No queue has this incarnation yet, nor a greater one.
    pub next_incarnation: u64,
    pub queues: Vec<SavedQueue>,
}

/// A queue with its messages, in order of their sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedQueue {
    pub record: QueueRecord,
    pub messages: Vec<(u64, MessageContent, MessageState)>,
}

/// Where the queues write their changes. The one of `Journal::default` takes none, at no cost.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    changes: Option<Arc<Mutex<Vec<Change>>>>,
}

impl Phase {
    /// When the message becomes available, if it is hidden.
    pub fn hidden_until(self) -> Option<Millis> {
        match self {
            Self::Available => None,
            Self::Delayed { until } | Self::InFlight { until, .. } | Self::Deleted { until } => {
                Some(until)
            }
        }
    }

    /// Whether a receiver may have it now.
    pub fn is_available(self) -> bool {
        matches!(
            self,
            Self::Available
                | Self::InFlight {
                    duplicate: true,
                    ..
                }
        )
    }
}

impl MessageState {
    /// As a message begins.
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            first_received: 0,
            receive_count: 0,
            returned: false,
        }
    }
}

impl Journal {
    /// A journal that keeps what is recorded until it is taken. Its clones are the same journal.
    pub fn on() -> Self {
        Self {
            changes: Some(Arc::default()),
        }
    }

    /// Records a change, which is only made if somebody wants it.
    pub fn record(&self, change: impl FnOnce() -> Change) {
        if let Some(changes) = &self.changes {
            changes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(change());
        }
    }

    /// Takes what was recorded since the last time.
    pub fn take(&self) -> Vec<Change> {
        self.changes.as_ref().map_or_else(Vec::new, |changes| {
            std::mem::take(&mut *changes.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}
