//! What comes out of a queue.

use std::sync::Arc;

use crate::clock::Millis;
use crate::sqs::state::message::NewMessage;

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

/// The three approximate counters, which are exact here, if sometimes late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub available: usize,
    pub in_flight: usize,
    pub delayed: usize,
}
