//! Fault injection into one queue. Each queue and fault has its own random stream, so the calls to one queue do not
//! change the faults of another.

use std::collections::VecDeque;

use super::delivery::Counts;
use crate::clock::Millis;
use crate::faults::{FaultRng, SqsFaults};

/// The configured faults of a queue and their random streams.
#[derive(Debug)]
pub struct FaultState {
    faults: SqsFaults,
    duplicate: FaultRng,
    deliver_after_delete: FaultRng,
    empty_receive: FaultRng,
    history: CounterHistory,
}

/// The counters of the time span by which they may lag.
#[derive(Debug)]
struct CounterHistory {
    /// Counters with the time since which they hold, in order of time.
    entries: VecDeque<(Millis, Counts)>,
}

/// The history keeps one entry for each span of this length, which bounds its size.
const RESOLUTION_MS: u64 = 100;

impl FaultState {
    /// Starts the random streams; `None` without faults.
    pub fn new(faults: SqsFaults, seed: u64, queue: &str, counts: Counts) -> Option<Box<Self>> {
        let rng = |fault: &str| FaultRng::new(seed, &rng_name(fault, queue));
        (faults != SqsFaults::default()).then(|| {
            Box::new(Self {
                faults,
                duplicate: rng("duplicate"),
                deliver_after_delete: rng("deliver_after_delete"),
                empty_receive: rng("empty_receive"),
                // The present counters stand for the unknown past.
                history: CounterHistory {
                    entries: VecDeque::from([(0, counts)]),
                },
            })
        })
    }

    /// Returns whether a message stays available after this delivery. Takes one draw per delivery.
    pub fn duplicates(&mut self) -> bool {
        self.duplicate.random_bool(self.faults.duplicate)
    }

    /// Returns whether a message comes back after this delete. Takes one draw per first delete.
    pub fn delivers_after_delete(&mut self) -> bool {
        self.deliver_after_delete
            .random_bool(self.faults.deliver_after_delete)
    }

    /// Returns whether a short poll returns no messages. Takes one draw per short poll.
    pub fn empties_receive(&mut self) -> bool {
        self.empty_receive.random_bool(self.faults.empty_receive)
    }

    /// Records the counters that hold from `at` on.
    pub fn record_counts(&mut self, at: Millis, counts: Counts) {
        if self.faults.counter_lag_ms > 0 {
            self.history.push(at, counts, self.faults.counter_lag_ms);
        }
    }

    /// Returns the lagging counters; `None` without a lag.
    pub fn counts_at(&self, now: Millis) -> Option<Counts> {
        let lag_ms = self.faults.counter_lag_ms;
        (lag_ms > 0).then(|| self.history.at(now.saturating_sub(lag_ms)))
    }

    #[cfg(test)]
    pub fn history_length(&self) -> usize {
        self.history.entries.len()
    }
}

impl CounterHistory {
    fn push(&mut self, at: Millis, counts: Counts, lag_ms: u64) {
        let last = self.entries.back().map_or(at, |(last, _)| *last);
        // A shorter retention period expires messages as of times in the past.
        let at = at.max(last);
        if at / RESOLUTION_MS == last / RESOLUTION_MS {
            self.entries.pop_back();
        }
        self.entries.push_back((at, counts));
        let oldest_needed = at.saturating_sub(lag_ms);
        while self
            .entries
            .get(1)
            .is_some_and(|(since, _)| *since <= oldest_needed)
        {
            self.entries.pop_front();
        }
    }

    /// Returns the counters at a time, or the earliest known ones.
    fn at(&self, time: Millis) -> Counts {
        let later = self.entries.partition_point(|(since, _)| *since <= time);
        self.entries[later.saturating_sub(1)].1
    }
}

/// Returns the name of the random stream of a queue's fault.
pub fn rng_name(fault: &str, queue: &str) -> String {
    format!("sqs.{fault}.{queue}")
}
