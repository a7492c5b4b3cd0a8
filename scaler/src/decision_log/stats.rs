//! What the decisions led to: replies, their cost, and the lengths of busy periods against the predictions.

use std::time::Duration;

use crate::plan::{Observation, Plan, Timestamp};

/// Counted from front's demand while the scaler watches it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    /// Requests that front replied to.
    pub answered: u64,
    /// Front's own count, as of its last update.
    counted: Option<u64>,
    /// Present while requests are unanswered.
    pub busy: Option<Busy>,
    pub last_busy: Option<Finished>,
}

/// A period in which requests are unanswered all the time, and that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    pub since: Timestamp,
    /// How long it was expected to last from its start, by the first plan that predicted anything.
    pub predicted: Option<Duration>,
}

/// A busy period that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    pub predicted: Option<Duration>,
    pub lasted: Duration,
}

impl Stats {
    /// Records a plan and what it was made from. Returns the busy period that has just ended, if any. None ends while
    /// front is unreachable.
    pub fn note(&mut self, observation: &Observation, plan: &Plan) -> Option<Finished> {
        let front = observation.front?.value;
        if let Some(counted) = self.counted {
            // A restarted front counts from zero.
            let since = front.answered_total.checked_sub(counted);
            self.answered += since.unwrap_or(front.answered_total);
        }
        self.counted = Some(front.answered_total);
        if front.unanswered == 0 {
            let busy = self.busy.take()?;
            let finished = Finished {
                predicted: busy.predicted,
                lasted: observation.now.since(busy.since),
            };
            self.last_busy = Some(finished);
            return Some(finished);
        }
        let now = observation.now;
        let busy = self.busy.get_or_insert(Busy {
            since: now,
            predicted: None,
        });
        if busy.predicted.is_none() {
            let begun = now.since(busy.since);
            busy.predicted = plan.completes_in.map(|rest| begun.saturating_add(rest));
        }
        None
    }

    /// Returns the dollars for 1,000 replies; `None` before the first reply. `spent` is in dollars.
    #[must_use]
    pub fn cost_per_thousand(&self, spent: f64) -> Option<f64> {
        (self.answered > 0).then(|| spent * 1_000.0 / self.answered as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{FrontDemand, Timestamped};

    fn observed(seconds: u64, unanswered: u64, answered_total: u64) -> Observation {
        let now = Timestamp::after_epoch(Duration::from_secs(seconds));
        let value = FrontDemand {
            unanswered,
            answered_total,
            ..FrontDemand::default()
        };
        Observation {
            now,
            front: Some(Timestamped { value, at: now }),
            ..Observation::default()
        }
    }

    fn expecting(seconds: Option<u64>) -> Plan {
        Plan {
            completes_in: seconds.map(Duration::from_secs),
            ..Plan::default()
        }
    }

    #[test]
    fn a_busy_period_is_compared_with_the_prediction_at_its_start() {
        let mut stats = Stats::default();
        assert_eq!(stats.note(&observed(10, 0, 0), &expecting(None)), None);
        assert_eq!(stats.note(&observed(11, 5, 0), &expecting(None)), None);
        assert_eq!(stats.note(&observed(12, 9, 1), &expecting(Some(8))), None);
        assert_eq!(stats.note(&observed(13, 4, 6), &expecting(Some(1))), None);
        let finished = stats.note(&observed(18, 0, 10), &expecting(None));
        assert_eq!(
            finished,
            Some(Finished {
                predicted: Some(Duration::from_secs(9)),
                lasted: Duration::from_secs(7),
            })
        );
        assert_eq!((stats.busy, stats.last_busy), (None, finished));
    }

    #[test]
    fn replies_are_counted_from_the_first_update_and_across_restarts_of_front() {
        let mut stats = Stats::default();
        for answered_total in [100, 150, 160, 5, 15] {
            stats.note(&observed(1, 0, answered_total), &expecting(None));
        }
        assert_eq!(stats.answered, 75);
        assert_eq!(stats.cost_per_thousand(0.15), Some(2.0));
        assert_eq!(Stats::default().cost_per_thousand(0.15), None);
    }
}
