//! Where the changes of a history go, to come back after a restart.

use std::collections::BTreeMap;

use tempfile::TempDir;

use crate::sqs::state::change::{MessageState, QueueRecord};
use crate::sqs::state::{Change, MessageContent, Saved, SavedQueue};
use crate::sqs::store::{Store, SyncPolicy};

/// Where the changes go.
#[derive(Debug)]
pub enum Disk {
    /// As `Change` says, and nothing else.
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

    /// Ends and begins again, with what was kept.
    pub fn reopen(self) -> (Self, Saved) {
        match self {
            Self::Memory(memory) => {
                let saved = memory.saved();
                (Self::Memory(memory), saved)
            }
            Self::Store { folder, store } => {
                drop(store);
                let (store, saved) =
                    Store::open(&folder.path().join("sqs"), SyncPolicy::Never).unwrap();
                (Self::Store { folder, store }, saved)
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
                place,
                content,
                state,
            } => {
                let twice = self
                    .messages(place.incarnation)
                    .insert(place.sequence, (content, state));
                assert_eq!(twice, None);
            }
            Change::State { place, state } => {
                self.messages(place.incarnation)
                    .get_mut(&place.sequence)
                    .unwrap()
                    .1 = state;
            }
            Change::MessageRemoved { place } => {
                self.messages(place.incarnation)
                    .remove(&place.sequence)
                    .unwrap();
            }
        }
    }

    fn messages(&mut self, incarnation: u64) -> &mut BTreeMap<u64, (MessageContent, MessageState)> {
        &mut self.queues.get_mut(&incarnation).unwrap().1
    }

    fn saved(&self) -> Saved {
        let queues = self.queues.values().map(|(record, messages)| SavedQueue {
            record: record.clone(),
            messages: messages
                .iter()
                .map(|(sequence, (content, state))| (*sequence, content.clone(), *state))
                .collect(),
        });
        Saved {
            next_incarnation: self.next_incarnation,
            queues: queues.collect(),
        }
    }
}
