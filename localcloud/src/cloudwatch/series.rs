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
    summaries: BTreeMap<Millis, Summary>,
    /// The summaries before this time are of minutes.
    by_minute_until: Millis,
}

impl Series {
    /// Adds values of a time. Older ones are merged by minute, and in the end dropped.
    pub fn add(&mut self, at: Millis, values: &Summary, now: Millis) {
        let by_minute_until = now.saturating_sub(BY_SECOND).max(self.by_minute_until);
        let aged = self.summaries.range(self.by_minute_until..by_minute_until);
        for at in aged.map(|(at, _)| *at).collect::<Vec<_>>() {
            if let Some(values) = self.summaries.remove(&at) {
                merge(&mut self.summaries, at - at % MINUTE, &values);
            }
        }
        self.by_minute_until = by_minute_until;
        let second = at - at % SECOND;
        let is_recent = second >= by_minute_until;
        let begins = if is_recent { second } else { at - at % MINUTE };
        merge(&mut self.summaries, begins, values);
        self.drop_before(now.saturating_sub(BY_MINUTE));
    }

    /// Returns the values from `start` to before `end`, by their times.
    pub fn between(&self, start: Millis, end: Millis) -> impl Iterator<Item = (Millis, &Summary)> {
        // A minute is merged from seconds, of which the first may be before the start.
        let found = self.summaries.range(start..end.max(start));
        found.map(|(at, values)| (*at, values))
    }

    pub fn drop_before(&mut self, oldest: Millis) {
        let first = self.times().next();
        if first.is_some_and(|first| first < oldest) {
            self.summaries = self.summaries.split_off(&oldest);
        }
    }

    /// Returns the number of summaries.
    pub fn len(&self) -> usize {
        self.summaries.len()
    }

    /// Returns the times of all summaries, in order.
    pub fn times(&self) -> impl DoubleEndedIterator<Item = Millis> {
        self.summaries.keys().copied()
    }
}

/// Adds values to those of a time.
pub fn merge(times: &mut BTreeMap<Millis, Summary>, at: Millis, values: &Summary) {
    match times.get_mut(&at) {
        Some(present) => present.add(values),
        None => drop(times.insert(at, values.clone())),
    }
}
