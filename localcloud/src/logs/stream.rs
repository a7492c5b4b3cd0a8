//! One log stream: its events in order of time.

use std::collections::VecDeque;

use crate::clock::Millis;

/// What CloudWatch Logs counts for each event beside its message.
pub const EVENT_OVERHEAD: usize = 26;
/// The most bytes of a stream; beyond, its oldest events are dropped.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A position among events: the timestamp, then the event's number in the account.
pub type Position = (Millis, u64);

#[derive(Debug)]
pub struct LogEvent {
    pub at: Millis,
    pub number: u64,
    pub ingested: Millis,
    pub message: String,
}

#[derive(Debug)]
pub struct LogStream {
    pub created: Millis,
    pub last_ingested: Option<Millis>,
    events: VecDeque<LogEvent>,
    bytes: usize,
}

impl LogEvent {
    pub fn position(&self) -> Position {
        (self.at, self.number)
    }

    pub fn bytes(&self) -> usize {
        self.message.len() + EVENT_OVERHEAD
    }
}

impl LogStream {
    pub fn new(created: Millis) -> Self {
        Self {
            created,
            last_ingested: None,
            events: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Adds an event in its place.
    pub fn add(&mut self, event: LogEvent) {
        self.bytes += event.bytes();
        self.last_ingested = Some(event.ingested);
        let place = self.after(event.position());
        self.events.insert(place, event);
        while self.bytes > MAX_BYTES {
            self.drop_first();
        }
    }

    /// Drops the events before a time.
    pub fn drop_before(&mut self, oldest: Millis) {
        while self.events.front().is_some_and(|first| first.at < oldest) {
            self.drop_first();
        }
        // Of a stream that held much, little is left.
        if self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to_fit();
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.events.pop_front() {
            self.bytes -= first.bytes();
        }
    }

    pub fn events(&self) -> &VecDeque<LogEvent> {
        &self.events
    }

    /// Returns the bytes of its events as CloudWatch Logs counts them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the index of the first event at a time or later.
    pub fn since(&self, at: Millis) -> usize {
        self.events.partition_point(|event| event.at < at)
    }

    /// Returns the index of the first event after a position.
    pub fn after(&self, position: Position) -> usize {
        self.events
            .partition_point(|event| event.position() <= position)
    }

    /// Returns the index of the first event at a position or after it.
    pub fn from(&self, position: Position) -> usize {
        self.events
            .partition_point(|event| event.position() < position)
    }
}
