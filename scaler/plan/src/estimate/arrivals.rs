//! The rate of arrivals.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How long arrivals are remembered, and at which resolution.
const ARRIVALS_KEPT: Duration = Duration::from_secs(250);
const ARRIVALS_EVERY: Duration = Duration::from_millis(500);
/// Front reports a change within this time. So arrivals after a longer silence came at its end.
const REPORTED_WITHIN: Duration = Duration::from_millis(100);
/// A rate is measured over this many arrivals, within the bounds of the window.
const ARRIVALS_FOR_A_RATE: u64 = 1_000;
const SHORTEST_RATE_WINDOW: Duration = Duration::from_secs(5);
/// A rate is no higher than this multiple of the median rate within its window.
const STEADY: f64 = 1.3;
const LONGEST_RATE_WINDOW: Duration = Duration::from_secs(120);

/// The number of accepted requests over time, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Arrivals {
    seen: VecDeque<(Timestamp, u64)>,
}

/// Requests a second, and how fast that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    pub per_second: f64,
    /// Change of the rate in a second; 0 unless it is statistically significant.
    pub trend: f64,
}

impl Arrivals {
    pub fn note(&mut self, at: Timestamp, total: u64) {
        if self.seen.back().is_some_and(|(_, last)| *last > total) {
            // A restarted front counts from zero.
            self.seen.clear();
        }
        let count = self.seen.len();
        let before_last = count.checked_sub(2).map(|index| self.seen[index].0);
        match (self.seen.back_mut(), before_last) {
            (Some(last), Some(before)) if at.since(before) < ARRIVALS_EVERY => {
                *last = (at.max(last.0), total);
            }
            (Some(last), _) if at <= last.0 => last.1 = total,
            (Some(&mut (before, unchanged)), _) => {
                if total > unchanged && at.since(before) > ARRIVALS_EVERY {
                    self.seen.push_back((at.before(REPORTED_WITHIN), unchanged));
                }
                self.seen.push_back((at, total));
            }
            (None, _) => self.seen.push_back((at, total)),
        }
        while self.seen.len() > 2 && at.since(self.seen[1].0) > ARRIVALS_KEPT {
            self.seen.pop_front();
        }
    }

    /// The total at a time, interpolated.
    fn total_at(&self, time: Timestamp) -> f64 {
        let after = self.seen.partition_point(|(at, _)| *at <= time);
        let Some(&(left_at, left)) = after.checked_sub(1).and_then(|index| self.seen.get(index))
        else {
            return self.seen.front().map_or(0.0, |(_, total)| *total as f64);
        };
        let Some(&(right_at, right)) = self.seen.get(after) else {
            return left as f64;
        };
        let share = time.since(left_at).as_secs_f64() / right_at.since(left_at).as_secs_f64();
        left as f64 + share * (right - left) as f64
    }

    /// Returns the rate at `now`.
    pub fn rate(&self, now: Timestamp) -> Rate {
        let (Some(&(first_at, first)), Some(&(_, last))) = (self.seen.front(), self.seen.back())
        else {
            return Rate::default();
        };
        // The window begins where enough have arrived since.
        let enough = last.saturating_sub(ARRIVALS_FOR_A_RATE);
        let since = self.seen.partition_point(|(_, total)| *total <= enough);
        let since = since
            .checked_sub(1)
            .map_or(first_at, |index| self.seen[index].0);
        // Two windows have to have been seen.
        let longest = LONGEST_RATE_WINDOW.min(now.since(first_at) / 2);
        let window = now.since(since).min(longest).max(SHORTEST_RATE_WINDOW);
        let seconds = window.as_secs_f64();
        let (begin, middle) = (now.before(2 * window), now.before(window));
        let recent = last as f64 - self.total_at(middle);
        let per_second = recent / seconds;
        // A burst is no rate: most of the window has to have seen similar arrivals.
        let steady = STEADY * self.median_of_quarters(now, window);
        if begin < first_at || steady < per_second {
            return Rate {
                per_second: per_second.min(steady),
                trend: 0.0,
            };
        }
        let before = self.total_at(middle) - self.total_at(begin);
        let difference = recent - before;
        // Twice the standard deviation of the difference of two Poisson counts.
        let stands_out = first < last && difference.abs() > 2.0 * (recent + before).sqrt();
        let trend = if stands_out {
            difference / (seconds * seconds)
        } else {
            0.0
        };
        // The mean of the window is the rate in its middle. Continued growth shows in the queue. A fall may have ended since:
        // the rate is not below that of the last quarter.
        let fallen = per_second + trend.min(0.0) * seconds / 2.0;
        let last_quarter = (last as f64 - self.total_at(now.before(window / 4))) * 4.0 / seconds;
        Rate {
            per_second: fallen.max(last_quarter.min(per_second)),
            trend,
        }
    }

    /// Requests a second in the two quarters of the window that are neither the busiest nor the calmest.
    fn median_of_quarters(&self, now: Timestamp, window: Duration) -> f64 {
        let total = |quarters: u32| self.total_at(now.before(quarters * window / 4));
        let mut arrived = [3, 2, 1, 0].map(|quarter| total(quarter) - total(quarter + 1));
        arrived.sort_by(f64::total_cmp);
        (arrived[1] + arrived[2]) * 2.0 / window.as_secs_f64()
    }
}
