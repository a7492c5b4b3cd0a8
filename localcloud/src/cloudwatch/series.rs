//! The values of one metric in one unit.

use std::collections::BTreeMap;

use super::summary::Summary;
use crate::clock::Millis;

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;
/// How long values are kept by second. CloudWatch does so for metrics of high resolution.
const BY_SECOND: Millis = 3 * 60 * MINUTE;
/// How long values are kept by minute.
const BY_MINUTE: Millis = 15 * 24 * 60 * MINUTE;

/// Summaries by the second or minute in which they begin.
#[derive(Debug, Default)]
pub struct Series {
    seconds: BTreeMap<Millis, Summary>,
    minutes: BTreeMap<Millis, Summary>,
}

impl Series {
    /// Adds values of a time. Older ones are merged by minute, and in the end dropped.
    pub fn add(&mut self, at: Millis, values: &Summary, now: Millis) {
        put(&mut self.seconds, at - at % SECOND, values);
        let by_second_since = now.saturating_sub(BY_SECOND);
        while let Some(first) = self.seconds.first_entry()
            && *first.key() < by_second_since
        {
            let (at, values) = first.remove_entry();
            put(&mut self.minutes, at - at % MINUTE, &values);
        }
        self.drop_before(now.saturating_sub(BY_MINUTE));
    }

    /// Returns the values from `start` to before `end`, by their times.
    pub fn between(&self, start: Millis, end: Millis) -> impl Iterator<Item = (Millis, &Summary)> {
        // A minute is merged from seconds, of which the first may be before the start.
        let minutes = self.minutes.range(start..end.max(start));
        let seconds = self.seconds.range(start..end.max(start));
        minutes.chain(seconds).map(|(at, values)| (*at, values))
    }

    pub fn drop_before(&mut self, oldest: Millis) {
        if self
            .minutes
            .first_key_value()
            .is_some_and(|(at, _)| *at < oldest)
        {
            self.minutes = self.minutes.split_off(&oldest);
        }
        if self
            .seconds
            .first_key_value()
            .is_some_and(|(at, _)| *at < oldest)
        {
            self.seconds = self.seconds.split_off(&oldest);
        }
    }

    /// Returns the number of summaries.
    pub fn len(&self) -> usize {
        self.seconds.len() + self.minutes.len()
    }

    /// Returns the times of all summaries.
    pub fn times(&self) -> impl Iterator<Item = Millis> {
        self.minutes.keys().chain(self.seconds.keys()).copied()
    }

    /// Returns the time of the last values.
    pub fn last(&self) -> Option<Millis> {
        let last = |times: &BTreeMap<Millis, Summary>| times.last_key_value().map(|(at, _)| *at);
        last(&self.seconds).max(last(&self.minutes))
    }
}

fn put(times: &mut BTreeMap<Millis, Summary>, at: Millis, values: &Summary) {
    match times.get_mut(&at) {
        Some(present) => present.add(values),
        None => drop(times.insert(at, values.clone())),
    }
}
