//! CloudWatch Logs: groups, streams and their events, in bounded memory.
//!
//! | module | does |
//! |---|---|
//! | `calls` | the calls: JSON in and out |
//! | `filter` | the patterns of FilterLogEvents |

mod calls;
mod filter;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use calls::ACTIONS;

use crate::clock::{Clock, Millis};

/// The most text of a stream and of all streams that is kept, in bytes.
const MAX_STREAM_BYTES: usize = 4 << 20;
const MAX_BYTES: usize = 64 << 20;

/// The log groups of the account.
#[derive(Debug)]
pub struct Logs {
    clock: Clock,
    region: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<String, Group>,
    /// Of all messages.
    bytes: usize,
    /// Numbers the events.
    next: u64,
}

#[derive(Debug)]
struct Group {
    created: Millis,
    retention_days: Option<u64>,
    streams: BTreeMap<String, Stream>,
}

#[derive(Debug)]
struct Stream {
    created: Millis,
    bytes: usize,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct Event {
    number: u64,
    timestamp: Millis,
    ingested: Millis,
    message: String,
}

impl Logs {
    pub fn new(clock: Clock, region: &str) -> Self {
        Self {
            clock,
            region: region.to_owned(),
            state: Mutex::default(),
        }
    }

    /// Appends a line. Makes the group and the stream if need be.
    pub fn append(&self, group: &str, stream: &str, message: &str) {
        let now = self.clock.now();
        let mut state = self.lock();
        let groups = &mut state.groups;
        let new = || Group::new(now);
        let group_entry = groups.entry(group.to_owned()).or_insert_with(new);
        let new = || Stream::new(now);
        group_entry
            .streams
            .entry(stream.to_owned())
            .or_insert_with(new);
        state.add(group, stream, now, now, message.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn new(created: Millis) -> Self {
        Self {
            created,
            retention_days: None,
            streams: BTreeMap::new(),
        }
    }
}

impl Stream {
    fn new(created: Millis) -> Self {
        Self {
            created,
            bytes: 0,
            events: VecDeque::new(),
        }
    }

    /// Returns the bytes that the oldest event had.
    fn drop_oldest(&mut self) -> usize {
        let bytes = self
            .events
            .pop_front()
            .map_or(0, |event| event.message.len());
        self.bytes -= bytes;
        bytes
    }
}

impl State {
    /// Adds an event to a stream that exists, and drops the oldest ones beyond the limits.
    fn add(&mut self, group: &str, stream: &str, timestamp: Millis, now: Millis, message: String) {
        let number = self.next;
        self.next += 1;
        let bytes = message.len();
        if let Some(stream) = self
            .groups
            .get_mut(group)
            .and_then(|it| it.streams.get_mut(stream))
        {
            stream.events.push_back(Event {
                number,
                timestamp,
                ingested: now,
                message,
            });
            stream.bytes += bytes;
            self.bytes += bytes;
            while stream.bytes > MAX_STREAM_BYTES {
                self.bytes -= stream.drop_oldest();
            }
        }
        while self.bytes > MAX_BYTES {
            let streams = self
                .groups
                .values_mut()
                .flat_map(|group| group.streams.values_mut());
            let oldest = streams
                .min_by_key(|stream| stream.events.front().map_or(u64::MAX, |event| event.number));
            let Some(oldest) = oldest else { return };
            self.bytes -= oldest.drop_oldest();
        }
    }
}
