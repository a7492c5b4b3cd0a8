//! Stores the changes of a history and restores them after a restart.

use std::collections::BTreeMap;

use tempfile::TempDir;

use crate::config::SyncPolicy;
use crate::sqs::state::change_log::{MessageState, QueueRecord};
use crate::sqs::state::{Change, MessageContent, QueueSnapshot, Snapshot};
use crate::sqs::store::Store;

/// A store of changes.
#[derive(Debug)]
pub enum Disk {
    /// The plain meaning of `Change`.
    Memory(Memory),
    Store {
        folder: TempDir,
        store: Store,
    },
}

#[derive(Debug, Default)]
pub struct Memory {
    next_incarnation: u64,
    queues: BTreeMap<u64, QueueInMemory>,
}

type QueueInMemory = (QueueRecord, BTreeMap<u64, (MessageContent, MessageState)>);

impl Disk {
    pub fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    pub fn store() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("sqs"), SyncPolicy::Never).unwrap();
        Self::Store { folder, store }
    }

    pub fn write(&mut self, changes: Vec<Change>) {
        match self {
            Self::Memory(memory) => changes.into_iter().for_each(|change| memory.apply(change)),
            Self::Store { store, .. } => store.write(&changes).unwrap(),
        }
    }

    /// Closes the store and opens it again.
    pub fn reopen(self) -> (Self, Snapshot) {
        match self {
            Self::Memory(memory) => {
                let snapshot = memory.snapshot();
                (Self::Memory(memory), snapshot)
            }
            Self::Store { folder, store } => {
                drop(store);
                let (store, snapshot) =
                    Store::open(&folder.path().join("sqs"), SyncPolicy::Never).unwrap();
                (Self::Store { folder, store }, snapshot)
            }
        }
    }
}

impl Memory {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Queue(record) => {
                self.next_incarnation = self.next_incarnation.max(record.incarnation + 1);
                match self.queues.get_mut(&record.incarnation) {
                    Some((present, _)) => *present = record,
                    None => {
                        self.queues
                            .insert(record.incarnation, (record, BTreeMap::new()));
                    }
                }
            }
            Change::QueueDeleted { incarnation } => {
                self.queues.remove(&incarnation).unwrap();
            }
            Change::Purged { incarnation } => self.messages(incarnation).clear(),
            Change::Message {
                key,
                content,
                state,
            } => {
                let twice = self
                    .messages(key.incarnation)
                    .insert(key.sequence, (content, state));
                assert_eq!(twice, None);
            }
            Change::State { key, state } => {
                self.messages(key.incarnation)
                    .get_mut(&key.sequence)
                    .unwrap()
                    .1 = state;
            }
            Change::MessageRemoved { key } => {
                self.messages(key.incarnation)
                    .remove(&key.sequence)
                    .unwrap();
            }
        }
    }

    fn messages(&mut self, incarnation: u64) -> &mut BTreeMap<u64, (MessageContent, MessageState)> {
        &mut self.queues.get_mut(&incarnation).unwrap().1
    }

    fn snapshot(&self) -> Snapshot {
        let queues = self
            .queues
            .values()
            .map(|(record, messages)| QueueSnapshot {
                record: record.clone(),
                messages: messages
                    .iter()
                    .map(|(sequence, (content, state))| (*sequence, content.clone(), *state))
                    .collect(),
            });
        Snapshot {
            next_incarnation: self.next_incarnation,
            queues: queues.collect(),
        }
    }
}
