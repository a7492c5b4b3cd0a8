//! One queue: which messages are available, delayed or in flight at a given time.

mod shelf;

use std::sync::Arc;

use super::change::{
    Change, Journal, MessageContent, MessageState, Phase, QueueRecord, SavedQueue,
};
use super::error::SqsError;
use super::message::NewMessage;
use super::receipt::ReceiptHandle;
use super::settings::{AttributeMap, QueueSettings};
use crate::clock::Millis;
use shelf::{Shelf, StoredMessage};

/// AWS refuses receives beyond this many messages in flight.
pub const IN_FLIGHT_LIMIT: usize = 120_000;

/// So many sequence numbers are set aside at once, so that a store need not be told of each.
const SEQUENCES_SET_ASIDE: u64 = 1 << 16;

/// A queue and its messages. All times are milliseconds since the Unix epoch and come from the caller.
#[derive(Debug)]
pub struct Queue {
    /// Tells this queue from an earlier one of the same name, so that an old receipt handle does not fit.
    incarnation: u64,
    name: String,
    settings: QueueSettings,
    tags: AttributeMap,
    created: Millis,
    modified: Millis,
    purged: Option<Millis>,
    next_sequence: u64,
    /// The first sequence number that was not set aside.
    sequence_limit: u64,
    shelf: Shelf,
    journal: Journal,
}

/// A message handed to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub message: Arc<NewMessage>,
    pub receipt_handle: String,
    pub sent: Millis,
    pub first_received: Millis,
    /// How often the message was received, this time included.
    pub receive_count: u32,
    /// The ARN of the queue that gave the message up, when this is a dead-letter queue.
    pub dead_letter_source_arn: Option<Arc<str>>,
}

/// What a receive took from a queue.
#[derive(Debug, Default)]
pub struct Taken {
    pub deliveries: Vec<Delivery>,
    /// Messages that were received too often and left the queue.
    pub dead: Vec<DeadMessage>,
}

/// A message on its way to a dead-letter queue. It keeps its identifier and its age.
#[derive(Debug)]
pub struct DeadMessage {
    pub message: Arc<NewMessage>,
    pub sent: Millis,
}

/// The three approximate counters, which are exact here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub available: usize,
    pub in_flight: usize,
    pub delayed: usize,
}

impl Queue {
    /// An empty queue, which writes its changes to `journal`.
    pub fn new(
        incarnation: u64,
        name: &str,
        settings: QueueSettings,
        tags: AttributeMap,
        now: Millis,
        journal: Journal,
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
            sequence_limit: SEQUENCES_SET_ASIDE,
            shelf: Shelf::new(incarnation, journal.clone()),
            journal,
        };
        queue.record();
        queue
    }

    /// A queue as it was saved. Its receipt handles are still good.
    ///
    /// # Errors
    /// As `QueueSettings::with`, when the saved attributes are none.
    pub fn restore(saved: SavedQueue, journal: Journal) -> Result<Self, SqsError> {
        let record = saved.record;
        let mut shelf = Shelf::new(record.incarnation, journal.clone());
        for (sequence, content, state) in saved.messages {
            shelf.put_back(sequence, content, state);
        }
        Ok(Self {
            incarnation: record.incarnation,
            name: record.name,
            settings: QueueSettings::from_attributes(record.attributes)?,
            tags: record.tags,
            created: record.created,
            modified: record.modified,
            purged: record.purged,
            next_sequence: record.sequence_limit,
            sequence_limit: record.sequence_limit,
            shelf,
            journal,
        })
    }

    /// All that `restore` needs.
    #[cfg(test)]
    pub fn saved(&self) -> SavedQueue {
        SavedQueue {
            record: self.as_record(),
            messages: self
                .shelf
                .iter()
                .map(|(sequence, stored)| (sequence, stored.content.clone(), stored.state))
                .collect(),
        }
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

    /// Adds tags, and changes those that are there.
    pub fn tag(&mut self, tags: AttributeMap) {
        self.tags.extend(tags);
        self.record();
    }

    /// Takes tags away.
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

    /// Replaces the settings; messages already delayed or in flight keep their times, as in AWS.
    pub fn set_settings(&mut self, settings: QueueSettings, now: Millis) {
        self.settings = settings;
        self.modified = now;
        self.record();
    }

    /// Stores a message that becomes available after `delay_seconds`, or the queue's own delay.
    pub fn send(&mut self, message: NewMessage, delay_seconds: Option<u32>, now: Millis) {
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
        self.store(content, phase);
    }

    /// Takes in a message that another queue gave up.
    pub fn accept_dead(&mut self, dead: DeadMessage, source_arn: Arc<str>, now: Millis) {
        self.advance(now);
        let content = MessageContent {
            message: dead.message,
            sent: dead.sent,
            dead_letter_source_arn: Some(source_arn),
        };
        self.store(content, Phase::Available);
    }

    /// Hands out up to `max_messages` available messages and hides them for `visibility_timeout_seconds`
    /// (the queue's own timeout if none is given). A message received too often already leaves the queue instead.
    ///
    /// # Errors
    /// `OverLimit` when too many messages are in flight.
    pub fn receive(
        &mut self,
        max_messages: usize,
        visibility_timeout_seconds: Option<u32>,
        now: Millis,
    ) -> Result<Taken, SqsError> {
        self.advance(now);
        let in_flight = self.counts().in_flight;
        if in_flight >= IN_FLIGHT_LIMIT {
            return Err(SqsError::OverLimit(in_flight));
        }
        let visibility =
            visibility_timeout_seconds.unwrap_or(self.settings.visibility_timeout_seconds);
        let until = now + u64::from(visibility) * 1000;
        let receive_limit = self
            .settings
            .redrive_policy
            .as_ref()
            .map(|policy| policy.max_receive_count);
        let mut taken = Taken::default();
        // One receive looks at each message once, even if that stays available.
        let mut from = 0;
        while taken.deliveries.len() < max_messages
            && let Some(sequence) = self.shelf.next_available(from)
        {
            from = sequence + 1;
            if receive_limit.is_some_and(|limit| self.stored(sequence).state.receive_count >= limit)
            {
                let stored = self
                    .shelf
                    .remove(sequence)
                    .expect("the message was there just now");
                taken.dead.push(DeadMessage {
                    message: stored.content.message,
                    sent: stored.content.sent,
                });
                continue;
            }
            self.shelf.update(sequence, |state| {
                state.receive_count += 1;
                if state.receive_count == 1 {
                    state.first_received = now;
                }
                state.phase = Phase::InFlight {
                    until,
                    duplicate: false,
                };
            });
            taken.deliveries.push(self.delivery(sequence));
        }
        Ok(taken)
    }

    /// Deletes a message by the handle of its latest receive. Deleting twice, or with the handle of an earlier
    /// receive, succeeds and does nothing, as AWS documents.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid` for a handle that this queue never gave out.
    pub fn delete(&mut self, receipt_handle: &str, now: Millis) -> Result<(), SqsError> {
        self.advance(now);
        let handle = self.own_handle(receipt_handle)?;
        if self
            .shelf
            .get(handle.sequence)
            .is_some_and(|stored| stored.state.receive_count == handle.receive_count)
        {
            self.shelf.remove(handle.sequence);
        }
        Ok(())
    }

    /// Hides a message in flight until `visibility_timeout_seconds` from now; 0 makes it available at once.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid`, `MessageNotInflight` when the message is available again or was received by another
    /// since, and `InvalidParameterValue` when it is gone.
    pub fn change_visibility(
        &mut self,
        receipt_handle: &str,
        visibility_timeout_seconds: u32,
        now: Millis,
    ) -> Result<(), SqsError> {
        self.advance(now);
        let handle = self.own_handle(receipt_handle)?;
        let state = self
            .shelf
            .get(handle.sequence)
            .map(|stored| stored.state)
            .ok_or_else(|| {
                SqsError::InvalidParameterValue(format!(
                    "Value {receipt_handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or \
                     is not available for visibility timeout change."
                ))
            })?;
        let Phase::InFlight { duplicate, .. } = state.phase else {
            return Err(SqsError::MessageNotInflight);
        };
        if state.receive_count != handle.receive_count {
            return Err(SqsError::MessageNotInflight);
        }
        let phase = if visibility_timeout_seconds == 0 {
            Phase::Available
        } else {
            Phase::InFlight {
                until: now + u64::from(visibility_timeout_seconds) * 1000,
                duplicate,
            }
        };
        self.shelf
            .update(handle.sequence, |state| state.phase = phase);
        Ok(())
    }

    /// Removes every message.
    ///
    /// # Errors
    /// `PurgeQueueInProgress` within 60 seconds of the last purge.
    pub fn purge(&mut self, name: &str, now: Millis) -> Result<(), SqsError> {
        if self.purged.is_some_and(|purged| now < purged + 60_000) {
            return Err(SqsError::PurgeQueueInProgress(name.to_owned()));
        }
        self.purged = Some(now);
        self.shelf.clear();
        self.record();
        Ok(())
    }

    /// The counters at `now`.
    pub fn counts_at(&mut self, now: Millis) -> Counts {
        self.advance(now);
        self.counts()
    }

    /// When the next hidden message becomes available, if any is hidden.
    pub fn next_due(&self) -> Option<Millis> {
        self.shelf.next_due()
    }

    fn counts(&self) -> Counts {
        self.shelf.counts()
    }

    fn stored(&self, sequence: u64) -> &StoredMessage {
        self.shelf
            .get(sequence)
            .expect("every available sequence has a message")
    }

    fn delivery(&self, sequence: u64) -> Delivery {
        let StoredMessage { content, state } = self.stored(sequence);
        let handle = ReceiptHandle {
            incarnation: self.incarnation,
            sequence,
            receive_count: state.receive_count,
        };
        Delivery {
            message: Arc::clone(&content.message),
            receipt_handle: handle.encode(),
            sent: content.sent,
            first_received: state.first_received,
            receive_count: state.receive_count,
            dead_letter_source_arn: content.dead_letter_source_arn.clone(),
        }
    }

    fn store(&mut self, content: MessageContent, phase: Phase) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        if sequence >= self.sequence_limit {
            self.sequence_limit = sequence + SEQUENCES_SET_ASIDE;
            self.record();
        }
        self.shelf
            .insert(sequence, content, MessageState::new(phase));
    }

    /// Brings the queue to `now`: hidden messages whose time has come are available, those past retention are gone.
    fn advance(&mut self, now: Millis) {
        while self.shelf.reveal_next(now).is_some() {}
        let retention = u64::from(self.settings.message_retention_seconds) * 1000;
        if let Some(then) = now.checked_sub(retention) {
            self.shelf.expire(then);
        }
    }

    fn record(&self) {
        self.journal.record(|| Change::Queue(self.as_record()));
    }

    fn as_record(&self) -> QueueRecord {
        QueueRecord {
            incarnation: self.incarnation,
            name: self.name.clone(),
            attributes: self.settings.attributes(),
            tags: self.tags.clone(),
            created: self.created,
            modified: self.modified,
            purged: self.purged,
            sequence_limit: self.sequence_limit,
        }
    }

    fn own_handle(&self, receipt_handle: &str) -> Result<ReceiptHandle, SqsError> {
        ReceiptHandle::decode(receipt_handle)
            .filter(|handle| {
                handle.incarnation == self.incarnation && handle.sequence < self.next_sequence
            })
            .ok_or(SqsError::ReceiptHandleIsInvalid)
    }
}
