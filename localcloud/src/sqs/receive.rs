//! Receiving, with long polls that end as soon as there is something to hand out.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::state::{
    AttributeValue, Delivery, MAX_RECEIVE_WAIT_SECONDS, MAX_VISIBILITY_TIMEOUT_SECONDS,
    MessageAttribute, Received, attributes_md5_hex,
};
use super::wire::{AttributeOnWire, MessageOnWire, Messages, ReceiveMessage};
use super::{Shared, Sqs, SqsError, queue_name, seconds};
use crate::account::ACCOUNT_ID;
use crate::clock::Millis;

/// One receiver's place among those who wait on a queue. Leaving it, by a message, by time or because the client went
/// away, wakes the next in line: that one may have to take a message, or learn when the next message is due.
struct Place {
    waiters: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiters.notify_one();
    }
}

/// Counts a receive as waiting for as long as it is there.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sqs {
    /// Nothing is taken from the queue before there is something to answer, and nothing is awaited after that, so a
    /// client that hangs up while it waits takes no message with it.
    pub(super) async fn receive_message(
        &self,
        request: ReceiveMessage,
    ) -> Result<Messages, SqsError> {
        let name = queue_name(&request.queue_url)?;
        let max_messages = match request.max_number_of_messages.unwrap_or(1) {
            most @ 1..=10 => most as usize,
            other => {
                return Err(SqsError::InvalidParameterValue(format!(
                    "Value {other} for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if \
                     provided."
                )));
            }
        };
        let visibility = request
            .visibility_timeout
            .map(|timeout| seconds("VisibilityTimeout", timeout, MAX_VISIBILITY_TIMEOUT_SECONDS))
            .transpose()?;
        let wait = request
            .wait_time_seconds
            .map(|wait| seconds("WaitTimeSeconds", wait, MAX_RECEIVE_WAIT_SECONDS))
            .transpose()?;

        let now = self.clock.now();
        let (received, wait_seconds, place) = {
            let mut shared = self.lock();
            let queue = shared.queues.queue(name)?;
            let wait_seconds = wait.unwrap_or(queue.settings().receive_wait_seconds);
            if wait_seconds == 0 && queue.short_poll_misses() {
                return Ok(on_wire(Received::default(), &request));
            }
            let received = shared.take(name, max_messages, visibility, now)?;
            (
                received,
                wait_seconds,
                Place {
                    waiters: shared.waiters_of(name),
                },
            )
        };
        if !received.deliveries.is_empty() || wait_seconds == 0 {
            return Ok(on_wire(received, &request));
        }
        let deadline = now + u64::from(wait_seconds) * 1000;
        let mut waiting = None;
        loop {
            // Enrolled before looking, so that no send can slip in between.
            let mut notified = pin!(place.waiters.notified());
            notified.as_mut().enable();
            let now = self.clock.now();
            let received = self.lock().take(name, max_messages, visibility, now)?;
            if !received.deliveries.is_empty() || deadline <= now {
                return Ok(on_wire(received, &request));
            }
            let until = received.next_due.map_or(deadline, |due| due.min(deadline));
            // Counted from when a send would wake it.
            waiting.get_or_insert_with(|| Waiting::begin(&self.waiting));
            // Woken or not, the queue is looked at again.
            let _ = timeout_at(Instant::from_std(self.clock.instant_of(until)), notified).await;
        }
    }
}

impl Shared {
    fn take(
        &mut self,
        name: &str,
        max_messages: usize,
        visibility_timeout_seconds: Option<u32>,
        now: Millis,
    ) -> Result<Received, SqsError> {
        let received = self
            .queues
            .receive(name, max_messages, visibility_timeout_seconds, now)?;
        if let Some(woken) = &received.woken_dead_letter_queue {
            self.wake_one(woken);
        }
        Ok(received)
    }
}

fn on_wire(received: Received, request: &ReceiveMessage) -> Messages {
    Messages {
        messages: received
            .deliveries
            .into_iter()
            .map(|delivery| message_on_wire(delivery, request))
            .collect(),
    }
}

fn message_on_wire(delivery: Delivery, request: &ReceiveMessage) -> MessageOnWire {
    let message = delivery.message;
    let wanted = |name: &str| {
        let names = request
            .attribute_names
            .iter()
            .chain(&request.message_system_attribute_names);
        names
            .into_iter()
            .any(|wanted| wanted == name || wanted == "All")
    };
    let mut attributes = BTreeMap::new();
    let mut insert = |name: &'static str, value: &dyn Fn() -> Option<String>| {
        if wanted(name)
            && let Some(value) = value()
        {
            attributes.insert(name, value);
        }
    };
    insert("SenderId", &|| Some(ACCOUNT_ID.to_owned()));
    insert("SentTimestamp", &|| Some(delivery.sent.to_string()));
    insert("ApproximateReceiveCount", &|| {
        Some(delivery.receive_count.to_string())
    });
    insert("ApproximateFirstReceiveTimestamp", &|| {
        Some(delivery.first_received.to_string())
    });
    insert("DeadLetterQueueSourceArn", &|| {
        delivery
            .dead_letter_source_arn
            .as_deref()
            .map(str::to_owned)
    });
    insert("AWSTraceHeader", &|| message.trace_header.clone());

    let selected: Vec<(&String, &MessageAttribute)> = message
        .attributes
        .iter()
        .filter(|(name, _)| {
            request
                .message_attribute_names
                .iter()
                .any(|pattern| selects(pattern, name))
        })
        .collect();
    MessageOnWire {
        message_id: message.message_id.clone(),
        receipt_handle: delivery.receipt_handle,
        md5_of_body: message.body_md5.clone(),
        body: message.body.clone(),
        attributes,
        md5_of_message_attributes: (!selected.is_empty())
            .then(|| attributes_md5_hex(selected.iter().copied())),
        message_attributes: selected
            .into_iter()
            .map(|(name, attribute)| (name.clone(), attribute_on_wire(attribute)))
            .collect(),
    }
}

/// `All` or `.*` select every attribute, `prefix.*` those that begin with the prefix, a name itself.
fn selects(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == "All" || pattern == name,
    }
}

fn attribute_on_wire(attribute: &MessageAttribute) -> AttributeOnWire {
    let (string_value, binary_value) = match &attribute.value {
        AttributeValue::Text(text) => (Some(text.clone()), None),
        AttributeValue::Binary(bytes) => (None, Some(STANDARD.encode(bytes))),
    };
    AttributeOnWire {
        data_type: Some(attribute.data_type.clone()),
        string_value,
        binary_value,
        string_list_values: Vec::new(),
        binary_list_values: Vec::new(),
    }
}
