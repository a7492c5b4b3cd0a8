//! The changes of a call, for a store to write.
//!
//! The types that derive serde's traits are stored as they are: changing one changes the store's format.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::message::Message;
use super::settings::AttributeMap;
use crate::clock::Millis;

/// One change of the queues. Changes applied in order to an earlier snapshot give the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A queue is new, or its record has changed.
    Queue(QueueRecord),
    /// A queue is deleted with its messages.
    QueueDeleted { incarnation: u64 },
    /// A queue is purged.
    Purged { incarnation: u64 },
    /// A message is new.
    Message {
        key: MessageKey,
        content: MessageContent,
        state: MessageState,
    },
    /// The state of a message has changed.
    State {
        key: MessageKey,
        state: MessageState,
    },
    /// A message is removed.
    MessageRemoved { key: MessageKey },
}

/// Identifies a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// The incarnation of the queue.
    pub incarnation: u64,
    /// The number of the message in the queue.
    pub sequence: u64,
}

/// A queue without its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    pub incarnation: u64,
    pub name: String,
    /// The settings as `QueueSettings::attributes` returns them.
    pub attributes: AttributeMap,
    pub tags: AttributeMap,
    pub created: Millis,
    pub modified: Millis,
    pub purged: Option<Millis>,
    /// All messages have smaller sequence numbers.
    pub sequence_limit: u64,
}

/// The constant part of a message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageContent {
    pub message: Arc<Message>,
    pub sent: Millis,
    /// In a dead-letter queue, the ARN of the queue that the message comes from.
    pub dead_letter_source_arn: Option<Arc<str>>,
}

/// The variable part of a message in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageState {
    pub phase: Phase,
    /// 0 before the first receive.
    pub first_received: Millis,
    pub receive_count: u32,
    /// Whether fault injection has brought the deleted message back, or will. Each message comes back at most once.
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
        /// Whether fault injection keeps the message available.
        duplicate: bool,
    },
    /// Deleted, but fault injection brings it back.
    Deleted {
        until: Millis,
    },
}

/// The whole state of the queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All queues have smaller incarnations.
    pub next_incarnation: u64,
    pub queues: Vec<QueueSnapshot>,
}

/// A queue and its messages, in order of their sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSnapshot {
    pub record: QueueRecord,
    pub messages: Vec<(u64, MessageContent, MessageState)>,
}

/// The changes since the last `take`. The log of `ChangeLog::default` discards them.
#[derive(Debug, Clone, Default)]
pub struct ChangeLog {
    changes: Option<Arc<Mutex<Vec<Change>>>>,
}

impl Change {
    /// Returns whether the change concerns all messages of a queue.
    pub fn is_bulk(&self) -> bool {
        matches!(self, Self::Purged { .. } | Self::QueueDeleted { .. })
    }
}

impl Phase {
    /// Returns when a hidden message becomes available.
    pub fn hidden_until(self) -> Option<Millis> {
        match self {
            Self::Available => None,
            Self::Delayed { until } | Self::InFlight { until, .. } | Self::Deleted { until } => {
                Some(until)
            }
        }
    }

    /// Returns whether a receiver can get the message.
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
    /// Creates the state of a new message.
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            first_received: 0,
            receive_count: 0,
            returned: false,
        }
    }
}

impl ChangeLog {
    /// Creates a log that keeps changes. Its clones share them.
    pub fn on() -> Self {
        Self {
            changes: Some(Arc::default()),
        }
    }

    /// Records a change, which is constructed only if the log keeps it.
    pub fn record(&self, change: impl FnOnce() -> Change) {
        if let Some(changes) = &self.changes {
            changes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(change());
        }
    }

    pub fn take(&self) -> Vec<Change> {
        self.changes.as_ref().map_or_else(Vec::new, |changes| {
            std::mem::take(&mut *changes.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}
