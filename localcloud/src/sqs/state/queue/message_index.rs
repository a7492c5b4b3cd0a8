//! The messages of a queue, and indexes that find the next one. Every change of a message goes through this module, which
//! keeps the indexes and the change log consistent.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Millis;
use crate::sqs::state::change_log::{
    Change, ChangeLog, MessageContent, MessageKey, MessageState, Phase,
};
use crate::sqs::state::delivery::Counts;

/// Messages by sequence number, which is the order of arrival.
#[derive(Debug)]
pub struct MessageIndex {
    incarnation: u64,
    changes: ChangeLog,
    messages: BTreeMap<u64, StoredMessage>,
    /// The messages that a receiver can get.
    available: BTreeSet<u64>,
    /// Delayed, in-flight and returning messages, by the time when they become available.
    hidden: BTreeSet<(Millis, u64)>,
    /// The messages older than an earlier arrival, by age. Dead-letter queues have such messages.
    late_arrivals: BTreeSet<(Millis, u64)>,
    /// The latest sending time so far.
    latest_sent: Millis,
    delayed: usize,
    duplicates: usize,
    deleted: usize,
}

/// A message in a queue.
#[derive(Debug)]
pub struct StoredMessage {
    pub content: MessageContent,
    pub state: MessageState,
}

impl MessageIndex {
    pub fn new(incarnation: u64, changes: ChangeLog) -> Self {
        Self {
            incarnation,
            changes,
            messages: BTreeMap::new(),
            available: BTreeSet::new(),
            hidden: BTreeSet::new(),
            late_arrivals: BTreeSet::new(),
            latest_sent: 0,
            delayed: 0,
            duplicates: 0,
            deleted: 0,
        }
    }

    pub fn get(&self, sequence: u64) -> Option<&StoredMessage> {
        self.messages.get(&sequence)
    }

    /// Returns all messages, in order of arrival.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (u64, &StoredMessage)> {
        self.messages
            .iter()
            .map(|(sequence, stored)| (*sequence, stored))
    }

    /// Returns the first available message at `from` or after it.
    pub fn next_available(&self, from: u64) -> Option<u64> {
        self.available.range(from..).next().copied()
    }

    /// Returns when the next hidden message becomes available.
    pub fn next_due(&self) -> Option<Millis> {
        self.hidden.first().map(|(due, _)| *due)
    }

    /// Adds a new message. Its sequence number must be greater than all before.
    pub fn insert(&mut self, sequence: u64, content: MessageContent, state: MessageState) {
        self.changes.record(|| Change::Message {
            key: self.key(sequence),
            content: content.clone(),
            state,
        });
        self.restore(sequence, content, state);
    }

    /// Adds a message without recording a change.
    pub fn restore(&mut self, sequence: u64, content: MessageContent, state: MessageState) {
        if content.sent < self.latest_sent {
            self.late_arrivals.insert((content.sent, sequence));
        }
        self.latest_sent = self.latest_sent.max(content.sent);
        self.index(sequence, state.phase);
        self.messages
            .insert(sequence, StoredMessage { content, state });
    }

    /// Changes the state of a message, which must exist.
    pub fn update(&mut self, sequence: u64, change: impl FnOnce(&mut MessageState)) {
        self.set_state(sequence, change);
        self.changes.record(|| Change::State {
            key: self.key(sequence),
            state: self.messages[&sequence].state,
        });
    }

    /// Removes a message.
    pub fn remove(&mut self, sequence: u64) -> Option<StoredMessage> {
        let stored = self.messages.remove(&sequence)?;
        self.unindex(sequence, stored.state.phase);
        self.late_arrivals.remove(&(stored.content.sent, sequence));
        self.changes.record(|| Change::MessageRemoved {
            key: self.key(sequence),
        });
        Some(stored)
    }

    /// Removes all messages.
    pub fn clear(&mut self) {
        *self = Self::new(self.incarnation, self.changes.clone());
        self.changes.record(|| Change::Purged {
            incarnation: self.incarnation,
        });
    }

    /// Makes the next hidden message available. This is not recorded: the stored phase has the time.
    pub fn reveal_next(&mut self) {
        if let Some((_, sequence)) = self.hidden.first().copied() {
            self.set_state(sequence, |state| state.phase = Phase::Available);
        }
    }

    /// Returns when the oldest message was sent.
    pub fn oldest(&self) -> Option<Millis> {
        self.oldest_candidates().map(|(sent, _)| sent).min()
    }

    /// Removes the oldest message.
    pub fn expire_oldest(&mut self) {
        if let Some((_, sequence)) = self.oldest_candidates().min() {
            self.remove(sequence);
        }
    }

    /// Returns the first arrival and the oldest late arrival, one of which is the oldest message.
    fn oldest_candidates(&self) -> impl Iterator<Item = (Millis, u64)> {
        let first = self.messages.first_key_value();
        let first = first.map(|(sequence, stored)| (stored.content.sent, *sequence));
        first.into_iter().chain(self.late_arrivals.first().copied())
    }

    /// Returns the counters. A duplicate counts as in flight, a deleted message not at all.
    pub fn counts(&self) -> Counts {
        Counts {
            available: self.available.len() - self.duplicates,
            in_flight: self.hidden.len() - self.delayed - self.deleted,
            delayed: self.delayed,
        }
    }

    fn key(&self, sequence: u64) -> MessageKey {
        MessageKey {
            incarnation: self.incarnation,
            sequence,
        }
    }

    fn set_state(&mut self, sequence: u64, change: impl FnOnce(&mut MessageState)) {
        let stored = self
            .messages
            .get_mut(&sequence)
            .expect("every indexed sequence has a message");
        let before = stored.state.phase;
        change(&mut stored.state);
        let after = stored.state.phase;
        if before != after {
            self.unindex(sequence, before);
            self.index(sequence, after);
        }
    }

    fn index(&mut self, sequence: u64, phase: Phase) {
        if phase.is_available() {
            self.available.insert(sequence);
        }
        if let Some(until) = phase.hidden_until() {
            self.hidden.insert((until, sequence));
        }
        if let Some(count) = self.count_of(phase) {
            *count += 1;
        }
    }

    fn unindex(&mut self, sequence: u64, phase: Phase) {
        if phase.is_available() {
            self.available.remove(&sequence);
        }
        if let Some(until) = phase.hidden_until() {
            self.hidden.remove(&(until, sequence));
        }
        if let Some(count) = self.count_of(phase) {
            *count -= 1;
        }
    }

    fn count_of(&mut self, phase: Phase) -> Option<&mut usize> {
        match phase {
            Phase::Delayed { .. } => Some(&mut self.delayed),
            Phase::InFlight {
                duplicate: true, ..
            } => Some(&mut self.duplicates),
            Phase::Deleted { .. } => Some(&mut self.deleted),
            Phase::Available | Phase::InFlight { .. } => None,
        }
    }
}
