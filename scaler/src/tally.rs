//! What came of the decisions: answers, what they cost, and how long busy periods last against what was expected.

use std::time::Duration;

use crate::plan::{Observation, Plan, Timestamp};

/// Counts what front says while it is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Requests that front answered while it was watched.
    pub answered: u64,
    /// Front's own count, when it was last heard.
    counted: Option<u64>,
    /// Present while requests are unanswered.
    pub busy: Option<Busy>,
    pub last_busy: Option<Finished>,
}

/// A period in which requests are unanswered all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    pub since: Timestamp,
    /// How long it was expected to last by the first plan in it that expected anything, from its beginning.
    pub predicted: Option<Duration>,
}

/// A busy period that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    pub predicted: Option<Duration>,
    pub lasted: Duration,
}

impl Tally {
    /// Takes in a plan and what it was made from; answers a busy period that has just ended. While front is unreachable
    /// nothing is known to end.
    pub fn note(&mut self, observation: &Observation, plan: &Plan) -> Option<Finished> {
        let front = observation.front?.value;
        if let Some(counted) = self.counted {
            // A front that was restarted counts from zero.
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

    /// Dollars for 1,000 answers; `spent` in dollars. Absent before the first answer.
    #[must_use]
    pub fn cost_per_thousand(&self, spent: f64) -> Option<f64> {
        (self.answered > 0).then(|| spent * 1_000.0 / self.answered as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{FrontDemand, Seen};

    fn observed(seconds: u64, unanswered: u64, answered_total: u64) -> Observation {
        let now = Timestamp::after_epoch(Duration::from_secs(seconds));
        let value = FrontDemand {
            unanswered,
            answered_total,
            ..FrontDemand::default()
        };
        Observation {
            now,
            front: Some(Seen { value, at: now }),
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
    fn a_busy_period_is_held_against_the_prediction_made_at_its_start() {
        let mut tally = Tally::default();
        assert_eq!(tally.note(&observed(10, 0, 0), &expecting(None)), None);
        assert_eq!(tally.note(&observed(11, 5, 0), &expecting(None)), None);
        assert_eq!(tally.note(&observed(12, 9, 1), &expecting(Some(8))), None);
        assert_eq!(tally.note(&observed(13, 4, 6), &expecting(Some(1))), None);
        let finished = tally.note(&observed(18, 0, 10), &expecting(None));
        assert_eq!(
            finished,
            Some(Finished {
                predicted: Some(Duration::from_secs(9)),
                lasted: Duration::from_secs(7),
            })
        );
        assert_eq!((tally.busy, tally.last_busy), (None, finished));
    }

    #[test]
    fn answers_are_counted_from_when_front_was_first_heard_and_across_its_restarts() {
        let mut tally = Tally::default();
        for answered_total in [100, 150, 160, 5, 15] {
            tally.note(&observed(1, 0, answered_total), &expecting(None));
        }
        assert_eq!(tally.answered, 75);
        assert_eq!(tally.cost_per_thousand(0.15), Some(2.0));
        assert_eq!(Tally::default().cost_per_thousand(0.15), None);
    }
}
