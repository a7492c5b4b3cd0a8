//! What queues return.

use std::sync::Arc;

use crate::clock::Millis;
use crate::sqs::state::message::Message;

/// A message that a receiver gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub message: Arc<Message>,
    pub receipt_handle: String,
    pub sent: Millis,
    pub first_received: Millis,
    /// Counts this receive.
    pub receive_count: u32,
    /// In a dead-letter queue, the ARN of the queue that the message comes from.
    pub dead_letter_source_arn: Option<Arc<str>>,
}

/// The result of a receive from one queue.
#[derive(Debug, Default)]
pub struct ReceiveOutcome {
    pub deliveries: Vec<Delivery>,
    /// Messages that exceeded the receive limit and left the queue.
    pub dead: Vec<DeadMessage>,
}

/// A message on its way to a dead-letter queue. It keeps its identifier, its age and the time of its first receive.
#[derive(Debug)]
pub struct DeadMessage {
    pub message: Arc<Message>,
    pub sent: Millis,
    pub first_received: Millis,
}

/// The three approximate counters. They are exact; fault injection may make them lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub available: usize,
    pub in_flight: usize,
    pub delayed: usize,
}
