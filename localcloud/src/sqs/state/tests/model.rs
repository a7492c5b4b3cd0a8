//! A naive queue: a list of messages, each with the time until which it is hidden.

use crate::clock::Millis;
use crate::faults::{FaultRng, SqsFaults};
use crate::sqs::state::delivery::Counts;
use crate::sqs::state::fault_state::rng_name;

const SECOND: Millis = 1000;

/// A queue that keeps its messages in order of arrival and checks all of them in every operation.
#[derive(Debug, Clone)]
pub struct ModelQueue {
    name: &'static str,
    pub visibility_seconds: u32,
    pub delay_seconds: u32,
    pub retention_seconds: u32,
    /// The receives after which a message moves to the dead-letter queue.
    pub receive_limit: Option<u32>,
    pub messages: Vec<ModelMessage>,
    purged: Option<Millis>,
    faults: SqsFaults,
    duplicate: FaultRng,
    deliver_after_delete: FaultRng,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelMessage {
    pub number: u32,
    pub sent: Millis,
    pub receives: u32,
    pub first_received: Millis,
    /// Whether the message comes from the other queue.
    pub dead: bool,
    hidden: Hidden,
    hidden_until: Millis,
    /// Whether the message is available although it is in flight.
    duplicate: bool,
    returned: bool,
}

/// Why a message is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hidden {
    Delayed,
    InFlight,
    Deleted,
}

/// Why a change of visibility fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Gone,
    NotInFlight,
}

impl ModelQueue {
    /// Creates a queue with default settings.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            visibility_seconds: 30,
            delay_seconds: 0,
            retention_seconds: 345_600,
            receive_limit: None,
            messages: Vec::new(),
            purged: None,
            faults: SqsFaults::default(),
            duplicate: FaultRng::new(0, ""),
            deliver_after_delete: FaultRng::new(0, ""),
        }
    }

    pub fn set_faults(&mut self, faults: SqsFaults, seed: u64) {
        self.faults = faults;
        self.duplicate = FaultRng::new(seed, &rng_name("duplicate", self.name));
        self.deliver_after_delete =
            FaultRng::new(seed, &rng_name("deliver_after_delete", self.name));
    }

    pub fn send(&mut self, number: u32, delay_seconds: Option<u32>, now: Millis) {
        let delay = delay_seconds.unwrap_or(self.delay_seconds);
        self.messages.push(ModelMessage {
            number,
            sent: now,
            receives: 0,
            first_received: 0,
            dead: false,
            hidden: Hidden::Delayed,
            hidden_until: now + u64::from(delay) * SECOND,
            duplicate: false,
            returned: false,
        });
    }

    pub fn accept_dead(&mut self, message: &ModelMessage) {
        self.messages.push(ModelMessage {
            receives: 0,
            dead: true,
            hidden_until: 0,
            returned: false,
            ..message.clone()
        });
    }

    /// Returns the delivered and the dead messages.
    pub fn receive(
        &mut self,
        max_messages: usize,
        visibility_seconds: Option<u32>,
        now: Millis,
    ) -> (Vec<ModelMessage>, Vec<ModelMessage>) {
        let visibility = visibility_seconds.unwrap_or(self.visibility_seconds);
        let (mut delivered, mut dead, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for mut message in self.messages.drain(..) {
            let is_available = message.hidden_until <= now
                || (message.hidden == Hidden::InFlight && message.duplicate);
            if delivered.len() == max_messages || !is_available {
                rest.push(message);
            } else if self
                .receive_limit
                .is_some_and(|limit| message.receives >= limit)
            {
                dead.push(message);
            } else {
                message.receives += 1;
                if message.first_received == 0 {
                    message.first_received = now;
                }
                message.hidden = Hidden::InFlight;
                message.hidden_until = now + u64::from(visibility) * SECOND;
                message.duplicate = self.faults != SqsFaults::default()
                    && self.duplicate.random_bool(self.faults.duplicate);
                delivered.push(message.clone());
                rest.push(message);
            }
        }
        self.messages = rest;
        (delivered, dead)
    }

    /// Deletes a message by the handle of a receive.
    pub fn delete(&mut self, number: u32, receive: u32, now: Millis) {
        let Some(index) = self.messages.iter().position(|message| {
            let is_deleted = message.hidden == Hidden::Deleted && message.hidden_until > now;
            message.number == number && message.receives == receive && !is_deleted
        }) else {
            return;
        };
        let message = &mut self.messages[index];
        let comes_back = self.faults != SqsFaults::default()
            && !message.returned
            && self
                .deliver_after_delete
                .random_bool(self.faults.deliver_after_delete);
        if comes_back {
            message.returned = true;
            message.hidden = Hidden::Deleted;
        } else {
            self.messages.remove(index);
        }
    }

    pub fn change_visibility(
        &mut self,
        number: u32,
        receive: u32,
        visibility_seconds: u32,
        now: Millis,
    ) -> Result<(), Refusal> {
        let message = self
            .messages
            .iter_mut()
            .find(|message| message.number == number)
            .filter(|message| !(message.hidden == Hidden::Deleted && message.hidden_until > now))
            .ok_or(Refusal::Gone)?;
        if message.hidden_until <= now || message.receives != receive {
            return Err(Refusal::NotInFlight);
        }
        message.hidden_until = now + u64::from(visibility_seconds) * SECOND;
        Ok(())
    }

    /// Purges the queue if that is allowed now.
    pub fn purge(&mut self, now: Millis) -> bool {
        let allowed = self.purged.is_none_or(|purged| now >= purged + 60 * SECOND);
        if allowed {
            self.purged = Some(now);
            self.messages.clear();
        }
        allowed
    }

    /// Removes the messages past retention.
    pub fn expire(&mut self, now: Millis) {
        let retention = u64::from(self.retention_seconds) * SECOND;
        self.messages
            .retain(|message| message.sent + retention > now);
    }

    pub fn counts(&self, now: Millis) -> Counts {
        let mut queue = self.clone();
        queue.expire(now);
        let hidden = |hidden| {
            let is_hidden =
                |message: &&ModelMessage| message.hidden_until > now && message.hidden == hidden;
            queue.messages.iter().filter(is_hidden).count()
        };
        Counts {
            available: queue
                .messages
                .iter()
                .filter(|message| message.hidden_until <= now)
                .count(),
            in_flight: hidden(Hidden::InFlight),
            delayed: hidden(Hidden::Delayed),
        }
    }
}
