//! The messages of a queue, with the indexes that find the next one. Every change of a message goes through here, so that
//! the indexes and the journal agree with the messages.

use std::collections::{BTreeMap, BTreeSet};

use super::Counts;
use crate::clock::Millis;
use crate::sqs::state::change::{Change, Journal, MessageContent, MessageState, Phase, Place};

/// Messages by their sequence numbers, hence in order of arrival.
#[derive(Debug)]
pub struct Shelf {
    incarnation: u64,
    journal: Journal,
    messages: BTreeMap<u64, StoredMessage>,
    /// What a receiver may have.
    available: BTreeSet<u64>,
    /// Delayed, in-flight and returning messages by the time at which they become available.
    hidden: BTreeSet<(Millis, u64)>,
    /// Those that are older than one that came before, as in a dead-letter queue.
    elders: BTreeSet<(Millis, u64)>,
    /// When the youngest message so far was sent.
    youngest: Millis,
    delayed: usize,
    duplicates: usize,
    deleted: usize,
}

/// A message in its place.
#[derive(Debug)]
pub struct StoredMessage {
    pub content: MessageContent,
    pub state: MessageState,
}

impl Shelf {
    pub fn new(incarnation: u64, journal: Journal) -> Self {
        Self {
            incarnation,
            journal,
            messages: BTreeMap::new(),
            available: BTreeSet::new(),
            hidden: BTreeSet::new(),
            elders: BTreeSet::new(),
            youngest: 0,
            delayed: 0,
            duplicates: 0,
            deleted: 0,
        }
    }

    pub fn get(&self, sequence: u64) -> Option<&StoredMessage> {
        self.messages.get(&sequence)
    }

    /// All messages, in order of arrival.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (u64, &StoredMessage)> {
        self.messages
            .iter()
            .map(|(sequence, stored)| (*sequence, stored))
    }

    /// The first available message with this sequence number or a greater one.
    pub fn next_available(&self, from: u64) -> Option<u64> {
        self.available.range(from..).next().copied()
    }

    /// When the next hidden message becomes available, if any is hidden.
    pub fn next_due(&self) -> Option<Millis> {
        self.hidden.first().map(|(due, _)| *due)
    }

    /// Puts a new message in. Its sequence number must be greater than those before.
    pub fn insert(&mut self, sequence: u64, content: MessageContent, state: MessageState) {
        self.journal.record(|| Change::Message {
            place: self.place(sequence),
            content: content.clone(),
            state,
        });
        self.put_back(sequence, content, state);
    }

    /// Puts a message in that a store knows already.
    pub fn put_back(&mut self, sequence: u64, content: MessageContent, state: MessageState) {
        if content.sent < self.youngest {
            self.elders.insert((content.sent, sequence));
        }
        self.youngest = self.youngest.max(content.sent);
        self.index(sequence, state.phase);
        self.messages
            .insert(sequence, StoredMessage { content, state });
    }

    /// Changes the state of a message, which must be there.
    pub fn update(&mut self, sequence: u64, change: impl FnOnce(&mut MessageState)) {
        self.set_state(sequence, change);
        self.journal.record(|| Change::State {
            place: self.place(sequence),
            state: self.messages[&sequence].state,
        });
    }

    /// Takes a message out.
    pub fn remove(&mut self, sequence: u64) -> Option<StoredMessage> {
        let stored = self.messages.remove(&sequence)?;
        self.unindex(sequence, stored.state.phase);
        self.elders.remove(&(stored.content.sent, sequence));
        self.journal.record(|| Change::MessageRemoved {
            place: self.place(sequence),
        });
        Some(stored)
    }

    /// Takes all messages out.
    pub fn clear(&mut self) {
        let journal = self.journal.clone();
        *self = Self::new(self.incarnation, journal);
        self.journal.record(|| Change::Purged {
            incarnation: self.incarnation,
        });
    }

    /// Makes the hidden message that is due first available. A store need not know: it has the time.
    pub fn reveal_next(&mut self) {
        if let Some((_, sequence)) = self.hidden.first().copied() {
            self.set_state(sequence, |state| state.phase = Phase::Available);
        }
    }

    /// When the oldest message was sent.
    pub fn oldest(&self) -> Option<Millis> {
        self.first_and_eldest().map(|(sent, _)| sent).min()
    }

    /// Takes out the oldest message.
    pub fn expire_oldest(&mut self) {
        if let Some((_, sequence)) = self.first_and_eldest().min() {
            self.remove(sequence);
        }
    }

    /// One of them is the oldest message.
    fn first_and_eldest(&self) -> impl Iterator<Item = (Millis, u64)> {
        let first = self.messages.first_key_value();
        let first = first.map(|(sequence, stored)| (stored.content.sent, *sequence));
        first.into_iter().chain(self.elders.first().copied())
    }

    /// What is on the shelf. A message that is in flight and available at once counts once, as in flight; one that was
    /// deleted does not count.
    pub fn counts(&self) -> Counts {
        Counts {
            available: self.available.len() - self.duplicates,
            in_flight: self.hidden.len() - self.delayed - self.deleted,
            delayed: self.delayed,
        }
    }

    fn place(&self, sequence: u64) -> Place {
        Place {
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
