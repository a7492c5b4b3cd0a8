//! What a distributed queue does to its callers, drawn by chance for each queue by itself: what happens to one queue does
//! not move the draws of another.

use std::collections::VecDeque;

use super::queue::Counts;
use crate::clock::Millis;
use crate::faults::{Dice, SqsFaults};

/// The faults of one queue with the state of their dice.
#[derive(Debug)]
pub struct Unkindness {
    faults: SqsFaults,
    duplicate: Dice,
    deliver_after_delete: Dice,
    empty_receive: Dice,
    history: History,
}

/// What was true of a queue during the time that its counters may lag.
#[derive(Debug)]
struct History {
    /// Since when the counters were what they were, in order of time.
    entries: VecDeque<(Millis, Counts)>,
}

/// Of what happens within this time, the history remembers the last, which bounds its length.
const GRAIN_MS: u64 = 100;

impl Unkindness {
    /// The faults at their beginning; `None` if there are none.
    pub fn new(faults: SqsFaults, seed: u64, queue: &str, counts: Counts) -> Option<Box<Self>> {
        let dice = |fault: &str| Dice::new(seed, &dice_name(fault, queue));
        (faults != SqsFaults::default()).then(|| {
            Box::new(Self {
                faults,
                duplicate: dice("duplicate"),
                deliver_after_delete: dice("deliver_after_delete"),
                empty_receive: dice("empty_receive"),
                // Of earlier times nothing is known; let the present have been true for ever.
                history: History {
                    entries: VecDeque::from([(0, counts)]),
                },
            })
        })
    }

    /// Whether a message stays available although it is handed out. Drawn for each message that is handed out.
    pub fn duplicates(&mut self) -> bool {
        self.duplicate.roll(self.faults.duplicate)
    }

    /// Whether a message comes back although it is deleted. Drawn for each message that is deleted for the first time.
    pub fn delivers_after_delete(&mut self) -> bool {
        self.deliver_after_delete
            .roll(self.faults.deliver_after_delete)
    }

    /// Whether a short poll answers nothing. Drawn for each short poll.
    pub fn empties_receive(&mut self) -> bool {
        self.empty_receive.roll(self.faults.empty_receive)
    }

    /// Notes what is true of the queue from `at` on.
    pub fn note(&mut self, at: Millis, counts: Counts) {
        if self.faults.counter_lag_ms > 0 {
            self.history.note(at, counts, self.faults.counter_lag_ms);
        }
    }

    /// What the counters answer at `now`, if that is not the truth.
    pub fn counts_at(&self, now: Millis) -> Option<Counts> {
        (self.faults.counter_lag_ms > 0).then(|| {
            self.history
                .at(now.saturating_sub(self.faults.counter_lag_ms))
        })
    }
}

#[cfg(test)]
impl Unkindness {
    /// How many entries the history has.
    pub fn remembered(&self) -> usize {
        self.history.entries.len()
    }
}

impl History {
    fn note(&mut self, at: Millis, counts: Counts, lag_ms: u64) {
        let last = self.entries.back().map_or(at, |(last, _)| *last);
        // A lowered retention period takes messages away as of times that are over.
        let at = at.max(last);
        if at / GRAIN_MS == last / GRAIN_MS {
            self.entries.pop_back();
        }
        self.entries.push_back((at, counts));
        let then = at.saturating_sub(lag_ms);
        while self.entries.get(1).is_some_and(|(since, _)| *since <= then) {
            self.entries.pop_front();
        }
    }

    /// What was true at `then`, or what is known of the time closest to it.
    fn at(&self, then: Millis) -> Counts {
        let later = self.entries.partition_point(|(since, _)| *since <= then);
        self.entries[later.saturating_sub(1)].1
    }
}

/// The name of the dice of a queue's fault.
pub fn dice_name(fault: &str, queue: &str) -> String {
    format!("sqs.{fault}.{queue}")
}
