//! All groups and their streams, within bounds.

use std::collections::BTreeMap;

use super::stream::{LogEvent, LogStream};
use crate::clock::Millis;

/// The most bytes of all streams; beyond, the oldest eighth of the events is dropped.
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// The most streams of all groups.
pub const MAX_STREAMS: usize = 10_000;
pub const MAX_GROUPS: usize = 1_000;
/// The most bytes of a message.
pub const MAX_MESSAGE: usize = 256 * 1024;
const DAY: Millis = 24 * 60 * 60 * 1000;

#[derive(Debug, Default)]
pub struct Store {
    pub groups: BTreeMap<String, LogGroup>,
    bytes: usize,
    last_number: u64,
}

#[derive(Debug)]
pub struct LogGroup {
    pub created: Millis,
    pub retention_days: Option<u64>,
    pub streams: BTreeMap<String, LogStream>,
}

impl LogGroup {
    pub fn new(created: Millis) -> Self {
        Self {
            created,
            retention_days: None,
            streams: BTreeMap::new(),
        }
    }

    /// Returns the time before which events are expired.
    pub fn oldest(&self, now: Millis) -> Millis {
        let days = self.retention_days;
        days.map_or(0, |days| now.saturating_sub(days * DAY))
    }

    pub fn bytes(&self) -> usize {
        self.streams.values().map(LogStream::bytes).sum()
    }
}

impl Store {
    /// Adds an event. Makes the group and the stream if they are missing.
    pub fn append(&mut self, group: &str, stream: &str, message: &str, now: Millis) {
        let is_new = !(self.groups.get(group)).is_some_and(|it| it.streams.contains_key(stream));
        if is_new {
            self.make_room(group);
            let group = self
                .groups
                .entry(group.to_owned())
                .or_insert_with(|| LogGroup::new(now));
            group.streams.insert(stream.to_owned(), LogStream::new(now));
        }
        let cut = message.floor_char_boundary(MAX_MESSAGE);
        self.add(group, stream, now, &message[..cut], now);
    }

    /// Adds an event to a stream that exists.
    pub fn add(&mut self, group: &str, stream: &str, at: Millis, message: &str, now: Millis) {
        self.last_number += 1;
        let event = LogEvent {
            at,
            number: self.last_number,
            ingested: now,
            message: message.to_owned(),
        };
        let group = self.groups.get_mut(group);
        let Some(stream) = group.and_then(|group| group.streams.get_mut(stream)) else {
            return;
        };
        self.bytes -= stream.bytes();
        stream.add(event);
        self.bytes += stream.bytes();
        if self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    /// Drops the events that are older than their group keeps them.
    pub fn expire(&mut self, now: Millis) {
        for group in self.groups.values_mut() {
            if group.retention_days.is_none() {
                continue;
            }
            let oldest = group.oldest(now);
            for stream in group.streams.values_mut() {
                self.bytes -= stream.bytes();
                stream.drop_before(oldest);
                self.bytes += stream.bytes();
            }
        }
    }

    /// Removes a group.
    pub fn remove_group(&mut self, name: &str) -> bool {
        let removed = self.groups.remove(name);
        self.bytes -= removed.as_ref().map_or(0, LogGroup::bytes);
        removed.is_some()
    }

    /// Removes a stream of a group.
    pub fn remove_stream(&mut self, group: &str, name: &str) -> bool {
        let group = self.groups.get_mut(group);
        let removed = group.and_then(|group| group.streams.remove(name));
        self.bytes -= removed.as_ref().map_or(0, LogStream::bytes);
        removed.is_some()
    }

    pub fn streams(&self) -> usize {
        self.groups.values().map(|group| group.streams.len()).sum()
    }

    /// Makes room for a stream in a group: what was without events for the longest time is dropped.
    fn make_room(&mut self, group: &str) {
        let last = |stream: &LogStream| stream.last_ingested.unwrap_or(stream.created);
        if !self.groups.contains_key(group) && self.groups.len() >= MAX_GROUPS {
            let stalest = self.groups.iter().min_by_key(|(_, group)| {
                let streams = group.streams.values();
                streams.map(last).max().unwrap_or(group.created)
            });
            if let Some(name) = stalest.map(|(name, _)| name.clone()) {
                self.remove_group(&name);
            }
        }
        if self.streams() >= MAX_STREAMS {
            let streams = self.groups.iter().flat_map(|(group, it)| {
                let streams = it.streams.iter();
                streams.map(move |(name, stream)| (group, name, stream))
            });
            let stalest = streams.min_by_key(|(.., stream)| last(stream));
            if let Some((group, name)) =
                stalest.map(|(group, name, _)| (group.clone(), name.clone()))
            {
                self.remove_stream(&group, &name);
            }
        }
    }

    fn drop_oldest(&mut self) {
        let streams = self.groups.values().flat_map(|it| it.streams.values());
        let mut times: Vec<Millis> = streams
            .flat_map(|stream| stream.events().iter().map(|event| event.at))
            .collect();
        let eighth = times.len() / 8;
        let (_, oldest, _) = times.select_nth_unstable(eighth);
        let oldest = *oldest + 1;
        for group in self.groups.values_mut() {
            for stream in group.streams.values_mut() {
                self.bytes -= stream.bytes();
                stream.drop_before(oldest);
                self.bytes += stream.bytes();
            }
        }
    }
}
