//! One queue: which messages are available, delayed or in flight at a given time.

mod delivery;
mod shelf;

use std::sync::Arc;

use super::change::{
    Change, Journal, MessageContent, MessageState, Phase, QueueRecord, SavedQueue,
};
use super::error::SqsError;
use super::message::NewMessage;
use super::receipt::ReceiptHandle;
use super::settings::{AttributeMap, QueueSettings};
use super::unkind::Unkindness;
use crate::clock::Millis;
use crate::faults::SqsFaults;
pub use delivery::{Counts, DeadMessage, Delivery, Taken};
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
    unkindness: Option<Box<Unkindness>>,
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
            unkindness: None,
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
            unkindness: None,
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
        self.advance(now);
        self.note(now);
        self.settings = settings;
        self.modified = now;
        self.record();
    }

    /// Replaces the faults; what was drawn by chance begins anew. Nothing that happened is undone.
    pub fn set_faults(&mut self, faults: SqsFaults, seed: u64, now: Millis) {
        self.advance(now);
        self.unkindness = Unkindness::new(faults, seed, &self.name, self.shelf.counts());
    }

    /// Whether a short poll that comes now answers nothing, whatever there is. A short poll asks some of the servers
    /// that hold a queue, a long poll asks them all.
    pub fn short_poll_misses(&mut self) -> bool {
        self.unkindness
            .as_mut()
            .is_some_and(|unkindness| unkindness.empties_receive())
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
        self.note(now);
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
        self.note(now);
    }

    /// Hands out up to `max_messages` available messages and hides them for `visibility_timeout_seconds`
    /// (the queue's own timeout if none is given). A message received `receive_limit` times already leaves the queue
    /// instead.
    ///
    /// # Errors
    /// `OverLimit` when too many messages are in flight.
    pub fn receive(
        &mut self,
        max_messages: usize,
        visibility_timeout_seconds: Option<u32>,
        receive_limit: Option<u32>,
        now: Millis,
    ) -> Result<Taken, SqsError> {
        self.advance(now);
        let in_flight = self.shelf.counts().in_flight;
        if in_flight >= IN_FLIGHT_LIMIT {
            return Err(SqsError::OverLimit(in_flight));
        }
        let visibility =
            visibility_timeout_seconds.unwrap_or(self.settings.visibility_timeout_seconds);
        let until = now + u64::from(visibility) * 1000;
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
            let duplicate = self
                .unkindness
                .as_mut()
                .is_some_and(|unkindness| unkindness.duplicates());
            self.shelf.update(sequence, |state| {
                state.receive_count += 1;
                if state.receive_count == 1 {
                    state.first_received = now;
                }
                state.phase = Phase::InFlight { until, duplicate };
            });
            taken.deliveries.push(self.delivery(sequence));
        }
        self.note(now);
        Ok(taken)
    }

    /// How many messages can be received at `now`.
    pub fn available_at(&mut self, now: Millis) -> usize {
        self.advance(now);
        self.shelf.counts().available
    }

    /// The first message that can be received at `now`.
    pub fn first_available(&mut self, now: Millis) -> Option<&MessageContent> {
        self.advance(now);
        let sequence = self.shelf.next_available(0)?;
        self.shelf.get(sequence).map(|stored| &stored.content)
    }

    /// Takes the first message that can be received at `now` out of the queue.
    pub fn take_first_available(&mut self, now: Millis) -> Option<MessageContent> {
        self.advance(now);
        let sequence = self.shelf.next_available(0)?;
        let taken = self.shelf.remove(sequence).map(|stored| stored.content);
        self.note(now);
        taken
    }

    /// Deletes a message by the handle of its latest receive. Deleting twice, or with the handle of an earlier
    /// receive, succeeds and does nothing, as AWS documents.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid` for a handle that this queue never gave out.
    pub fn delete(&mut self, receipt_handle: &str, now: Millis) -> Result<(), SqsError> {
        self.advance(now);
        let handle = self.own_handle(receipt_handle)?;
        let sequence = handle.sequence;
        let Some(state) = self.shelf.get(sequence).map(|stored| stored.state) else {
            return Ok(());
        };
        if state.receive_count != handle.receive_count
            || matches!(state.phase, Phase::Deleted { .. })
        {
            return Ok(());
        }
        let comes_back = !state.returned
            && self
                .unkindness
                .as_mut()
                .is_some_and(|unkindness| unkindness.delivers_after_delete());
        if comes_back {
            self.shelf.update(sequence, |state| {
                state.returned = true;
                // One whose time in flight is over is available already.
                if let Phase::InFlight { until, .. } = state.phase {
                    state.phase = Phase::Deleted { until };
                }
            });
        } else {
            self.shelf.remove(sequence);
        }
        self.note(now);
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
            .filter(|state| !matches!(state.phase, Phase::Deleted { .. }))
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
        self.note(now);
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
        self.note(now);
        Ok(())
    }

    /// The counters as they are answered at `now`.
    pub fn counts_at(&mut self, now: Millis) -> Counts {
        self.advance(now);
        self.unkindness
            .as_ref()
            .and_then(|unkindness| unkindness.counts_at(now))
            .unwrap_or_else(|| self.shelf.counts())
    }

    /// How many counters are remembered.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.unkindness
            .as_ref()
            .map_or(0, |unkindness| unkindness.remembered())
    }

    /// When the next hidden message becomes available, if any is hidden.
    pub fn next_due(&self) -> Option<Millis> {
        self.shelf.next_due()
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
        let retention = u64::from(self.settings.message_retention_seconds) * 1000;
        loop {
            let due = self.shelf.next_due().unwrap_or(Millis::MAX);
            let expiry = self
                .shelf
                .oldest()
                .map_or(Millis::MAX, |sent| sent + retention);
            let next = due.min(expiry);
            if next > now {
                return;
            }
            if expiry <= due {
                self.shelf.expire_oldest();
            } else {
                self.shelf.reveal_next();
            }
            self.note(next);
        }
    }

    /// Notes for the counters what is true from `at` on.
    fn note(&mut self, at: Millis) {
        if let Some(unkindness) = &mut self.unkindness {
            unkindness.note(at, self.shelf.counts());
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
