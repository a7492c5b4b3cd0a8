//! One queue: the messages that are available, delayed or in flight at a given time.

mod message_index;
mod received;
mod records;

use std::sync::Arc;

use super::change_log::{ChangeLog, MessageContent, MessageState, Phase};
use super::delivery::{Counts, DeadMessage, ReceiveOutcome};
use super::error::SqsError;
use super::fault_state::FaultState;
use super::message::Message;
use super::settings::{AttributeMap, QueueSettings};
use crate::clock::Millis;
use crate::faults::SqsFaults;
use message_index::{MessageIndex, StoredMessage};

/// AWS's limit of messages in flight.
pub const IN_FLIGHT_LIMIT: usize = 120_000;

/// Sequence numbers are reserved in blocks of this size, so that the store need not record each.
const SEQUENCE_BLOCK: u64 = 1 << 16;

/// A queue and its messages. Times are milliseconds since the Unix epoch and come from the caller.
#[derive(Debug)]
pub struct Queue {
    /// Unique among all queues ever, so receipt handles of a deleted queue are invalid in a new one of the same name.
    incarnation: u64,
    name: String,
    settings: QueueSettings,
    tags: AttributeMap,
    created: Millis,
    modified: Millis,
    purged: Option<Millis>,
    next_sequence: u64,
    /// The first sequence number that is not reserved.
    sequence_limit: u64,
    messages: MessageIndex,
    changes: ChangeLog,
    faults: Option<Box<FaultState>>,
}

impl Queue {
    /// Creates an empty queue, which logs its changes to `changes`.
    pub fn new(
        incarnation: u64,
        name: &str,
        settings: QueueSettings,
        tags: AttributeMap,
        now: Millis,
        changes: ChangeLog,
    ) -> Self {
        let queue = Self {
            incarnation,
            name: name.to_owned(),
            settings,
            tags,
            created: now,
            modified: now,
            purged: None,
            next_sequence: 0,
            sequence_limit: SEQUENCE_BLOCK,
            messages: MessageIndex::new(incarnation, changes.clone()),
            changes,
            faults: None,
        };
        queue.record();
        queue
    }

    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    pub fn tags(&self) -> &AttributeMap {
        &self.tags
    }

    pub fn tag(&mut self, tags: AttributeMap) {
        self.tags.extend(tags);
        self.record();
    }

    pub fn untag(&mut self, keys: &[String]) {
        self.tags.retain(|key, _| !keys.contains(key));
        self.record();
    }

    pub fn created(&self) -> Millis {
        self.created
    }

    pub fn modified(&self) -> Millis {
        self.modified
    }

    /// Replaces the settings. Messages that are delayed or in flight keep their times, as in AWS.
    pub fn set_settings(&mut self, settings: QueueSettings, now: Millis) {
        self.advance(now);
        self.record_counts(now);
        self.settings = settings;
        self.modified = now;
        self.record();
    }

    /// Replaces the faults and restarts their random streams. Earlier faults stay in effect.
    pub fn set_faults(&mut self, faults: SqsFaults, seed: u64, now: Millis) {
        self.advance(now);
        self.faults = FaultState::new(faults, seed, &self.name, self.messages.counts());
    }

    /// Returns whether this short poll returns no messages: AWS's short polls ask only some of a queue's servers.
    pub fn short_poll_misses(&mut self) -> bool {
        self.faults
            .as_mut()
            .is_some_and(|faults| faults.empties_receive())
    }

    /// Adds a message that becomes available after `delay_seconds`, by default the queue's delay.
    pub fn send(&mut self, message: Message, delay_seconds: Option<u32>, now: Millis) {
        self.advance(now);
        let delay = u64::from(delay_seconds.unwrap_or(self.settings.delay_seconds)) * 1000;
        let phase = if delay == 0 {
            Phase::Available
        } else {
            Phase::Delayed { until: now + delay }
        };
        let content = MessageContent {
            message: Arc::new(message),
            sent: now,
            dead_letter_source_arn: None,
        };
        self.store(content, MessageState::new(phase));
        self.record_counts(now);
    }

    /// Adds a message that moves here from the queue of `source_arn`.
    pub fn accept_dead(&mut self, dead: DeadMessage, source_arn: Arc<str>, now: Millis) {
        self.advance(now);
        let content = MessageContent {
            message: dead.message,
            sent: dead.sent,
            dead_letter_source_arn: Some(source_arn),
        };
        let state = MessageState {
            first_received: dead.first_received,
            ..MessageState::new(Phase::Available)
        };
        self.store(content, state);
        self.record_counts(now);
    }

    /// Delivers up to `max_messages` available messages and hides them for `visibility_timeout_seconds`, by default the
    /// queue's timeout. A message that was received `receive_limit` times leaves the queue instead.
    ///
    /// # Errors
    /// `OverLimit` if too many messages are in flight.
    pub fn receive(
        &mut self,
        max_messages: usize,
        visibility_timeout_seconds: Option<u32>,
        receive_limit: Option<u32>,
        now: Millis,
    ) -> Result<ReceiveOutcome, SqsError> {
        self.advance(now);
        let in_flight = self.messages.counts().in_flight;
        if in_flight >= IN_FLIGHT_LIMIT {
            return Err(SqsError::OverLimit(in_flight));
        }
        let visibility =
            visibility_timeout_seconds.unwrap_or(self.settings.visibility_timeout_seconds);
        let until = now + u64::from(visibility) * 1000;
        let mut outcome = ReceiveOutcome::default();
        // A duplicate stays available; `from` keeps one receive from delivering it twice.
        let mut from = 0;
        while outcome.deliveries.len() < max_messages
            && let Some(sequence) = self.messages.next_available(from)
        {
            from = sequence + 1;
            if receive_limit.is_some_and(|limit| self.stored(sequence).state.receive_count >= limit)
            {
                let stored = self
                    .messages
                    .remove(sequence)
                    .expect("an available message exists");
                outcome.dead.push(DeadMessage {
                    message: stored.content.message,
                    sent: stored.content.sent,
                    first_received: stored.state.first_received,
                });
                continue;
            }
            let duplicate = self
                .faults
                .as_mut()
                .is_some_and(|faults| faults.duplicates());
            self.messages.update(sequence, |state| {
                state.receive_count += 1;
                // A dead letter keeps the time of its first receive.
                if state.first_received == 0 {
                    state.first_received = now;
                }
                state.phase = Phase::InFlight { until, duplicate };
            });
            outcome.deliveries.push(self.delivery(sequence, now));
        }
        self.record_counts(now);
        Ok(outcome)
    }

    /// Returns how many messages can be received at `now`.
    pub fn available_at(&mut self, now: Millis) -> usize {
        self.advance(now);
        self.messages.counts().available
    }

    /// Returns the first message that can be received at `now`.
    pub fn first_available(&mut self, now: Millis) -> Option<&MessageContent> {
        self.advance(now);
        let sequence = self.messages.next_available(0)?;
        self.messages.get(sequence).map(|stored| &stored.content)
    }

    /// Removes the first message that can be received at `now`.
    pub fn take_first_available(&mut self, now: Millis) -> Option<MessageContent> {
        self.advance(now);
        let sequence = self.messages.next_available(0)?;
        let taken = self.messages.remove(sequence).map(|stored| stored.content);
        self.record_counts(now);
        taken
    }

    /// Removes all messages.
    ///
    /// # Errors
    /// `PurgeQueueInProgress` within 60 seconds of the last purge.
    pub fn purge(&mut self, now: Millis) -> Result<(), SqsError> {
        if self.purged.is_some_and(|purged| now < purged + 60_000) {
            return Err(SqsError::PurgeQueueInProgress(self.name.clone()));
        }
        self.purged = Some(now);
        self.messages.clear();
        self.record();
        self.record_counts(now);
        Ok(())
    }

    /// Returns the counters at `now`, which fault injection may make lag.
    pub fn counts_at(&mut self, now: Millis) -> Counts {
        self.advance(now);
        self.faults
            .as_ref()
            .and_then(|faults| faults.counts_at(now))
            .unwrap_or_else(|| self.messages.counts())
    }

    #[cfg(test)]
    pub fn counter_history_length(&self) -> usize {
        self.faults
            .as_ref()
            .map_or(0, |faults| faults.history_length())
    }

    /// Returns when the next hidden message becomes available.
    pub fn next_due(&self) -> Option<Millis> {
        self.messages.next_due()
    }

    fn stored(&self, sequence: u64) -> &StoredMessage {
        self.messages
            .get(sequence)
            .expect("an indexed message exists")
    }

    fn store(&mut self, content: MessageContent, state: MessageState) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        if sequence >= self.sequence_limit {
            self.sequence_limit = sequence + SEQUENCE_BLOCK;
            self.record();
        }
        self.messages.insert(sequence, content, state);
    }

    /// Advances the queue to `now`: reveals hidden messages that are due and removes those past retention.
    fn advance(&mut self, now: Millis) {
        let retention = u64::from(self.settings.message_retention_seconds) * 1000;
        loop {
            let due = self.messages.next_due().unwrap_or(Millis::MAX);
            let expiry = self
                .messages
                .oldest()
                .map_or(Millis::MAX, |sent| sent + retention);
            let next = due.min(expiry);
            if next > now {
                return;
            }
            if expiry <= due {
                self.messages.expire_oldest();
            } else {
                self.messages.reveal_next();
            }
            self.record_counts(next);
        }
    }

    /// Records the counters for fault injection.
    fn record_counts(&mut self, at: Millis) {
        if let Some(faults) = &mut self.faults {
            faults.record_counts(at, self.messages.counts());
        }
    }
}
