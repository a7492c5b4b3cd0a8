//! One queue: which messages are available, delayed or in flight at a given time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::SqsError;
use super::message::NewMessage;
use super::receipt::ReceiptHandle;
use super::settings::{AttributeMap, QueueSettings};
use crate::clock::Millis;

/// AWS refuses receives beyond this many messages in flight.
pub const IN_FLIGHT_LIMIT: usize = 120_000;

/// A queue and its messages. All times are milliseconds since the Unix epoch and come from the caller.
#[derive(Debug)]
pub struct Queue {
    /// Tells this queue from an earlier one of the same name, so that an old receipt handle does not fit.
    incarnation: u64,
    settings: QueueSettings,
    tags: AttributeMap,
    created: Millis,
    modified: Millis,
    purged: Option<Millis>,
    next_sequence: u64,
    /// Every message by its sequence number, hence in order of arrival.
    messages: BTreeMap<u64, StoredMessage>,
    available: BTreeSet<u64>,
    /// Delayed and in-flight messages by the time at which they become available.
    hidden: BTreeSet<(Millis, u64)>,
    delayed: usize,
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

#[derive(Debug)]
struct StoredMessage {
    message: Arc<NewMessage>,
    sent: Millis,
    phase: Phase,
    first_received: Millis,
    receive_count: u32,
    dead_letter_source_arn: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Available,
    Delayed { until: Millis },
    InFlight { until: Millis },
}

impl Queue {
    /// An empty queue.
    pub fn new(incarnation: u64, settings: QueueSettings, tags: AttributeMap, now: Millis) -> Self {
        Self {
            incarnation,
            settings,
            tags,
            created: now,
            modified: now,
            purged: None,
            next_sequence: 0,
            messages: BTreeMap::new(),
            available: BTreeSet::new(),
            hidden: BTreeSet::new(),
            delayed: 0,
        }
    }

    pub fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    pub fn tags_mut(&mut self) -> &mut AttributeMap {
        &mut self.tags
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
    }

    /// Stores a message that becomes available after `delay_seconds`, or the queue's own delay.
    pub fn send(&mut self, message: NewMessage, delay_seconds: Option<u32>, now: Millis) {
        let delay = u64::from(delay_seconds.unwrap_or(self.settings.delay_seconds)) * 1000;
        let phase = if delay == 0 {
            Phase::Available
        } else {
            Phase::Delayed { until: now + delay }
        };
        self.store(Arc::new(message), now, phase, None);
    }

    /// Takes in a message that another queue gave up.
    pub fn accept_dead(&mut self, dead: DeadMessage, source_arn: Arc<str>) {
        self.store(dead.message, dead.sent, Phase::Available, Some(source_arn));
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
        while taken.deliveries.len() < max_messages
            && let Some(sequence) = self.available.pop_first()
        {
            let stored = self
                .messages
                .get_mut(&sequence)
                .expect("every available sequence has a message");
            if receive_limit.is_some_and(|limit| stored.receive_count >= limit) {
                let stored = self
                    .messages
                    .remove(&sequence)
                    .expect("the message was there just now");
                taken.dead.push(DeadMessage {
                    message: stored.message,
                    sent: stored.sent,
                });
                continue;
            }
            stored.receive_count += 1;
            if stored.receive_count == 1 {
                stored.first_received = now;
            }
            stored.phase = Phase::InFlight { until };
            self.hidden.insert((until, sequence));
            let handle = ReceiptHandle {
                incarnation: self.incarnation,
                sequence,
                receive_count: stored.receive_count,
            };
            taken.deliveries.push(Delivery {
                message: Arc::clone(&stored.message),
                receipt_handle: handle.encode(),
                sent: stored.sent,
                first_received: stored.first_received,
                receive_count: stored.receive_count,
                dead_letter_source_arn: stored.dead_letter_source_arn.clone(),
            });
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
            .messages
            .get(&handle.sequence)
            .is_some_and(|stored| stored.receive_count == handle.receive_count)
        {
            self.remove(handle.sequence);
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
        let sequence = handle.sequence;
        let stored = self.messages.get_mut(&sequence).ok_or_else(|| {
            SqsError::InvalidParameterValue(format!(
                "Value {receipt_handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is \
                 not available for visibility timeout change."
            ))
        })?;
        let Phase::InFlight { until: previous } = stored.phase else {
            return Err(SqsError::MessageNotInflight);
        };
        if stored.receive_count != handle.receive_count {
            return Err(SqsError::MessageNotInflight);
        }
        self.hidden.remove(&(previous, sequence));
        if visibility_timeout_seconds == 0 {
            stored.phase = Phase::Available;
            self.available.insert(sequence);
        } else {
            let until = now + u64::from(visibility_timeout_seconds) * 1000;
            stored.phase = Phase::InFlight { until };
            self.hidden.insert((until, sequence));
        }
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
        self.messages.clear();
        self.available.clear();
        self.hidden.clear();
        self.delayed = 0;
        Ok(())
    }

    /// The counters at `now`.
    pub fn counts_at(&mut self, now: Millis) -> Counts {
        self.advance(now);
        self.counts()
    }

    /// When the next hidden message becomes available, if any is hidden.
    pub fn next_due(&self) -> Option<Millis> {
        self.hidden.first().map(|(due, _)| *due)
    }

    fn counts(&self) -> Counts {
        Counts {
            available: self.available.len(),
            in_flight: self.hidden.len() - self.delayed,
            delayed: self.delayed,
        }
    }

    fn store(
        &mut self,
        message: Arc<NewMessage>,
        sent: Millis,
        phase: Phase,
        source_arn: Option<Arc<str>>,
    ) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        match phase {
            Phase::Available => {
                self.available.insert(sequence);
            }
            Phase::Delayed { until } => {
                self.delayed += 1;
                self.hidden.insert((until, sequence));
            }
            Phase::InFlight { until } => {
                self.hidden.insert((until, sequence));
            }
        }
        self.messages.insert(
            sequence,
            StoredMessage {
                message,
                sent,
                phase,
                first_received: 0,
                receive_count: 0,
                dead_letter_source_arn: source_arn,
            },
        );
    }

    /// Brings the queue to `now`: hidden messages whose time has come are available, those past retention are gone.
    fn advance(&mut self, now: Millis) {
        while let Some((due, sequence)) = self.hidden.first().copied()
            && due <= now
        {
            self.hidden.pop_first();
            let stored = self
                .messages
                .get_mut(&sequence)
                .expect("every hidden sequence has a message");
            if matches!(stored.phase, Phase::Delayed { .. }) {
                self.delayed -= 1;
            }
            stored.phase = Phase::Available;
            self.available.insert(sequence);
        }
        let retention = u64::from(self.settings.message_retention_seconds) * 1000;
        // A dead-letter queue holds older messages behind younger ones at times; those wait for their elders.
        while let Some((sequence, stored)) = self.messages.first_key_value()
            && stored.sent + retention <= now
        {
            let sequence = *sequence;
            self.remove(sequence);
        }
    }

    fn remove(&mut self, sequence: u64) {
        let Some(stored) = self.messages.remove(&sequence) else {
            return;
        };
        match stored.phase {
            Phase::Available => {
                self.available.remove(&sequence);
            }
            Phase::Delayed { until } => {
                self.delayed -= 1;
                self.hidden.remove(&(until, sequence));
            }
            Phase::InFlight { until } => {
                self.hidden.remove(&(until, sequence));
            }
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
