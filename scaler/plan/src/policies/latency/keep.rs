//! How long an unneeded worker is cheaper to keep than to start again: the ski-rental problem, with a threshold chosen by
//! past costs (Karlin et al., "Competitive snoopy caching", 1988, for the rule without a history; Khanafer, Kodialam and
//! Puttaswamy, "The constrained ski-rental problem and its application to online cloud cost optimization", 2013, for
//! cloud instances).

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{KeepIdle, Timestamp};

/// Gaps are counted in buckets of half an octave from this length on, in seconds.
const SHORTEST_GAP: f64 = 0.05;
const BUCKETS: usize = 32;
/// The history counts from this many gaps on, and fades by this factor with each gap.
const ENOUGH_GAPS: f64 = 8.0;
const FORGETTING: f64 = 0.995;
/// No worker is kept longer than this multiple of the cost of its restart.
const LONGEST_KEEP: f64 = 2.0;
/// A smaller share of the gaps is rounding error.
const ROUNDING: f64 = 1e-9;

/// The level of need over time. Level n is needed while at least n workers are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SkiRental {
    needed: u32,
    /// Since when each level above `needed` has not been needed, the lowest level first.
    dropped: VecDeque<Timestamp>,
    /// How many of these, the highest levels, have been counted as gaps that are too long to wait out. Without them the
    /// history would hold only gaps that ended.
    #[serde(default)]
    given_up: usize,
    /// Since when each needed level has been needed, the lowest first.
    raised: Vec<Timestamp>,
    /// Gaps of the first level, which any request needs.
    #[serde(default)]
    first_gaps: Gaps,
    /// Gaps of the other levels.
    #[serde(default)]
    other_gaps: Gaps,
    /// The unused part of a start's billing minimum, in seconds, smoothed.
    waste: Option<f64>,
}

/// How long levels were unneeded before they were needed again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Gaps {
    /// Count and sum of seconds.
    buckets: [(f64, f64); BUCKETS],
}

/// The workers that are kept beyond the needed ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeepDecision {
    pub workers: u32,
    /// When one fewer is kept.
    pub until: Option<Timestamp>,
    /// What starting one again costs, in seconds of an instance's time.
    pub restart_cost: f64,
}

impl SkiRental {
    /// Takes in that `needed` workers are needed: fewer than before since `since`, more than before since `now`. `boot` and
    /// `minimum` (the billing minimum of a start) are in seconds.
    pub fn note(
        &mut self,
        needed: u32,
        since: Timestamp,
        now: Timestamp,
        boot: f64,
        minimum: f64,
        keep_idle: KeepIdle,
    ) -> KeepDecision {
        while self.needed < needed {
            if let Some(dropped) = self.dropped.pop_front() {
                if self.given_up > self.dropped.len() {
                    self.given_up -= 1;
                } else {
                    self.add_gap(self.needed + 1, now.since(dropped).as_secs_f64());
                }
            }
            self.raised.push(now);
            self.needed += 1;
        }
        while self.needed > needed {
            let raised = self.raised.pop().unwrap_or(since);
            let used = boot + since.since(raised).as_secs_f64();
            let wasted = (minimum - used).max(0.0);
            let waste = self.waste.get_or_insert(wasted);
            *waste += 0.125 * (wasted - *waste);
            self.dropped.push_front(since);
            self.needed -= 1;
        }
        let restart_cost = boot + self.waste.unwrap_or(minimum / 2.0);
        self.give_up(restart_cost, now);
        let [of_first, of_others] = self.thresholds(restart_cost, boot, keep_idle);
        let levels = (self.needed + 1..).zip(&self.dropped);
        let kept: Vec<_> = levels
            .take(self.not_given_up())
            .map(|(level, dropped)| dropped.after(if level == 1 { of_first } else { of_others }))
            .filter(|until| now < *until)
            .collect();
        let until = kept.iter().copied().min();
        KeepDecision {
            workers: u32::try_from(kept.len()).unwrap_or(u32::MAX),
            until,
            restart_cost,
        }
    }

    /// Returns whether [`note`](Self::note) can have left it. That of a damaged recording may differ.
    pub(crate) fn is_sound(&self) -> bool {
        self.given_up <= self.dropped.len()
    }

    fn not_given_up(&self) -> usize {
        self.dropped.len().saturating_sub(self.given_up)
    }

    /// Counts the levels that have not been needed for longer than any worker is kept.
    fn give_up(&mut self, restart_cost: f64, now: Timestamp) {
        while let Some(index) = self.not_given_up().checked_sub(1) {
            let unneeded = now.since(self.dropped[index]).as_secs_f64();
            if unneeded <= LONGEST_KEEP * restart_cost {
                break;
            }
            let above = u32::try_from(index + 1).unwrap_or(u32::MAX);
            self.add_gap(self.needed.saturating_add(above), unneeded);
            self.given_up += 1;
        }
    }

    fn add_gap(&mut self, level: u32, seconds: f64) {
        match level {
            1 => self.first_gaps.add(seconds),
            _ => self.other_gaps.add(seconds),
        }
    }

    /// Returns how long to keep the first level and the others. With too short a history of its own, a level has that of
    /// all, and before there is any, a worker is kept for its boot.
    fn thresholds(&self, restart_cost: f64, boot: f64, keep_idle: KeepIdle) -> [Duration; 2] {
        let all = self.first_gaps.and(&self.other_gaps);
        let of_all = all.threshold(restart_cost).unwrap_or(boot);
        [self.first_gaps, self.other_gaps].map(|gaps| {
            let threshold = gaps.threshold(restart_cost).unwrap_or(of_all);
            let threshold = Duration::try_from_secs_f64(threshold);
            keep_idle.bound(threshold.unwrap_or(Duration::MAX))
        })
    }
}

impl Gaps {
    fn and(mut self, other: &Self) -> Self {
        for (mine, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = (mine.0 + others.0, mine.1 + others.1);
        }
        self
    }

    fn add(&mut self, seconds: f64) {
        for (count, sum) in &mut self.buckets {
            *count *= FORGETTING;
            *sum *= FORGETTING;
        }
        let index = (2.0 * (seconds / SHORTEST_GAP).max(1.0).log2()) as usize;
        let (count, sum) = &mut self.buckets[index.min(BUCKETS - 1)];
        *count += 1.0;
        *sum += seconds;
    }

    /// Returns how long to keep: the threshold that would have cost least in the past; `None` without a history.
    fn threshold(&self, restart_cost: f64) -> Option<f64> {
        let all: f64 = self.buckets.iter().map(|(count, _)| count).sum();
        if all < ENOUGH_GAPS {
            return None;
        }
        let (mut best, mut least) = (0.0, all * restart_cost);
        let (mut longer, mut kept) = (all, 0.0);
        for (index, (count, sum)) in self.buckets.iter().enumerate() {
            let threshold = SHORTEST_GAP * 2.0_f64.powf((index + 1) as f64 / 2.0);
            if threshold > LONGEST_KEEP * restart_cost {
                break;
            }
            (longer, kept) = (longer - count, kept + sum);
            if longer < ROUNDING * all {
                longer = 0.0;
            }
            let cost = kept + longer * (threshold + restart_cost);
            if cost < least {
                (best, least) = (threshold, cost);
            }
        }
        Some(best)
    }
}

impl Default for Gaps {
    fn default() -> Self {
        Self {
            buckets: [(0.0, 0.0); BUCKETS],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::after_epoch(Duration::from_secs_f64(1_000.0 + seconds))
    }

    #[test]
    fn without_a_history_a_worker_is_kept_for_as_long_as_its_boot() {
        let mut rental = SkiRental::default();
        rental.note(3, at(0.0), at(0.0), 20.0, 0.0, KeepIdle::Auto);
        let keeping = rental.note(1, at(10.0), at(10.0), 20.0, 0.0, KeepIdle::Auto);
        assert_eq!((keeping.workers, keeping.until), (2, Some(at(30.0))));
        assert_eq!(
            rental
                .note(1, at(29.9), at(29.9), 20.0, 0.0, KeepIdle::Auto)
                .workers,
            2
        );
        assert_eq!(
            rental
                .note(1, at(30.0), at(30.0), 20.0, 0.0, KeepIdle::Auto)
                .workers,
            0
        );
    }

    #[test]
    fn levels_are_dropped_from_the_top() {
        let mut rental = SkiRental::default();
        rental.note(3, at(0.0), at(0.0), 20.0, 0.0, KeepIdle::Auto);
        rental.note(2, at(5.0), at(5.0), 20.0, 0.0, KeepIdle::Auto);
        rental.note(1, at(15.0), at(15.0), 20.0, 0.0, KeepIdle::Auto);
        let keeping = rental.note(1, at(26.0), at(26.0), 20.0, 0.0, KeepIdle::Auto);
        assert_eq!((keeping.workers, keeping.until), (1, Some(at(35.0))));
    }

    #[test]
    fn long_gaps_are_not_waited_out() {
        let mut rental = SkiRental::default();
        let mut time = 0.0;
        for _ in 0..20 {
            rental.note(1, at(time), at(time), 20.0, 0.0, KeepIdle::Auto);
            rental.note(
                0,
                at(time + 30.0),
                at(time + 30.0),
                20.0,
                0.0,
                KeepIdle::Auto,
            );
            time += 600.0;
        }
        assert_eq!(
            rental
                .note(0, at(time), at(time), 20.0, 0.0, KeepIdle::Auto)
                .workers,
            0
        );
    }

    #[test]
    fn gaps_slightly_longer_than_the_cost_of_a_restart_are_not_waited_out() {
        let mut gaps = Gaps::default();
        (0..20).for_each(|_| gaps.add(30.0));
        assert_eq!(gaps.threshold(20.0), Some(0.0));
        assert!(gaps.threshold(31.0).unwrap() >= 30.0);
    }

    #[test]
    fn levels_that_are_not_needed_again_count_as_long_gaps_once() {
        let mut rental = SkiRental::default();
        let mut note = |needed, seconds| {
            let now = at(seconds);
            rental.note(needed, now, now, 20.0, 0.0, KeepIdle::Auto)
        };
        note(15, 0.0);
        // Dips of 15 s are worth waiting out.
        for dip in 0..10 {
            note(14, f64::from(dip) * 30.0);
            note(15, f64::from(dip) * 30.0 + 15.0);
        }
        let keeping = note(0, 300.0);
        assert_eq!(keeping.workers, 15);
        assert!(keeping.until.unwrap() > at(315.0), "{keeping:?}");
        // The whole fleet has not been needed since, which outweighs the dips.
        note(0, 340.1);
        note(15, 350.0);
        assert_eq!(note(0, 351.0).workers, 0);
        let all = rental.first_gaps.and(&rental.other_gaps);
        let all: f64 = all.buckets.iter().map(|(count, _)| count).sum();
        assert!((20.0..25.0).contains(&all), "{all} gaps");
    }

    /// The counts fade, so that they do not add up exactly. The rest was taken for gaps that a longer wait avoids.
    #[test]
    fn gaps_that_are_all_short_are_waited_out_and_no_longer() {
        for count in 10..200 {
            let mut gaps = Gaps::default();
            (0..count).for_each(|number| gaps.add(0.1 + 0.01 * f64::from(number % 7)));
            let threshold = gaps.threshold(50.0).unwrap();
            assert!((0.16..0.5).contains(&threshold), "{count}: {threshold}");
        }
    }

    #[test]
    fn the_unused_rest_of_a_paid_minute_adds_to_the_cost_of_a_restart() {
        let mut rental = SkiRental::default();
        rental.note(1, at(0.0), at(0.0), 20.0, 60.0, KeepIdle::Auto);
        // 20 s of boot and 10 s of use: half of the minute was paid for nothing.
        let keeping = rental.note(0, at(10.0), at(10.0), 20.0, 60.0, KeepIdle::Auto);
        assert_eq!(keeping.restart_cost, 50.0);
    }

    #[test]
    fn no_worker_is_kept_longer_than_the_bound() {
        let keep = |bound: f64, seconds: f64| {
            let bound = KeepIdle::AtMost(Duration::from_secs_f64(bound));
            let mut rental = SkiRental::default();
            rental.note(3, at(0.0), at(0.0), 20.0, 60.0, bound);
            let keeping = rental.note(1, at(10.0), at(10.0 + seconds), 20.0, 60.0, bound);
            (keeping.workers, keeping.until)
        };
        assert_eq!(keep(0.0, 0.0), (0, None));
        assert_eq!(keep(5.0, 4.9), (2, Some(at(15.0))));
        assert_eq!(keep(5.0, 5.0), (0, None));
        assert_eq!(
            keep(3600.0, 51.0),
            (0, None),
            "a long bound prolongs nothing"
        );
    }

    #[test]
    fn repeating_a_decision_changes_nothing() {
        let mut rental = SkiRental::default();
        rental.note(5, at(0.0), at(0.0), 20.0, 60.0, KeepIdle::Auto);
        let first = rental.note(2, at(7.0), at(7.0), 20.0, 60.0, KeepIdle::Auto);
        let before = rental.clone();
        assert_eq!(
            rental.note(2, at(7.0), at(7.0), 20.0, 60.0, KeepIdle::Auto),
            first
        );
        assert_eq!(rental, before);
    }
}
