//! Receiving messages. A long poll ends as soon as it can deliver one.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::attributes::digest;
use super::state::{
    Delivery, MAX_RECEIVE_WAIT_SECONDS, MAX_VISIBILITY_TIMEOUT_SECONDS, MessageAttribute, Received,
};
use super::wire::{Messages, ReceiveMessage, WireMessage};
use super::{Sqs, SqsError, SqsState, attributes, queue_name, seconds};
use crate::account::ACCOUNT_ID;
use crate::clock::Millis;

/// A receive that may wait on a queue. When it ends, by a delivery, a timeout or a disconnect, it wakes the next one,
/// which may have to take a message or to learn when the next message is due.
struct WaitGuard {
    waiters: Arc<Notify>,
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.waiters.notify_one();
    }
}

/// Counts a waiting receive until it is dropped.
struct WaitingCount<'a>(&'a AtomicUsize);

impl<'a> WaitingCount<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitingCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sqs {
    /// Takes messages and returns them without awaiting in between, so a client that disconnects while it waits takes no
    /// message.
    pub(super) async fn receive_message(
        &self,
        request: ReceiveMessage,
    ) -> Result<Messages, SqsError> {
        let name = queue_name(&request.queue_url)?;
        let max_messages = match request.max_number_of_messages.unwrap_or(1) {
            count @ 1..=10 => count as usize,
            other => {
                let reason = "Must be between 1 and 10, if provided";
                return Err(SqsError::invalid_value(
                    "MaxNumberOfMessages",
                    other,
                    reason,
                ));
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
        let (received, wait_seconds, guard) = {
            let mut shared = self.lock();
            let queue = shared.queues.queue(name)?;
            let wait_seconds = wait.unwrap_or(queue.settings().receive_wait_seconds);
            if wait_seconds == 0 && queue.short_poll_misses() {
                return Ok(to_wire(Received::default(), &request));
            }
            let received = shared.take(name, max_messages, visibility, now)?;
            let waiters = shared.waiters_of(name);
            (received, wait_seconds, WaitGuard { waiters })
        };
        if !received.deliveries.is_empty() || wait_seconds == 0 {
            return Ok(to_wire(received, &request));
        }
        let deadline = now + u64::from(wait_seconds) * 1000;
        let mut waiting = None;
        loop {
            // Registers before it checks the queue, so that no send goes unnoticed in between.
            let mut notified = pin!(guard.waiters.notified());
            notified.as_mut().enable();
            let now = self.clock.now();
            let received = self.lock().take(name, max_messages, visibility, now)?;
            if !received.deliveries.is_empty() || deadline <= now {
                return Ok(to_wire(received, &request));
            }
            let until = received.next_due.map_or(deadline, |due| due.min(deadline));
            // Counts the receive once a send would wake it.
            waiting.get_or_insert_with(|| WaitingCount::begin(&self.waiting));
            // After a timeout the queue is checked again, too.
            let _ = timeout_at(Instant::from_std(self.clock.instant_of(until)), notified).await;
        }
    }
}

impl SqsState {
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

fn to_wire(received: Received, request: &ReceiveMessage) -> Messages {
    Messages {
        messages: received
            .deliveries
            .into_iter()
            .map(|delivery| message_to_wire(delivery, request))
            .collect(),
    }
}

fn message_to_wire(delivery: Delivery, request: &ReceiveMessage) -> WireMessage {
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
    insert("MessageGroupId", &|| message.group_id.clone());

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
    WireMessage {
        message_id: message.message_id.clone(),
        receipt_handle: delivery.receipt_handle,
        md5_of_body: message.body_md5.clone(),
        body: message.body.clone(),
        attributes,
        md5_of_message_attributes: digest(selected.iter().copied()),
        message_attributes: selected
            .into_iter()
            .map(|(name, attribute)| (name.clone(), attributes::to_wire(attribute)))
            .collect(),
    }
}

/// Returns whether a pattern selects an attribute: `All`, `.*`, `prefix.*` or the name.
fn selects(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == "All" || pattern == name,
    }
}
