//! Sums the replicas' demands. Pure: the time is an argument.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::{Demand, TIME_TO_LIVE};

/// How long the totals of a replica that is gone are kept apart, in case it comes back.
const REMEMBER_FOR: Duration = Duration::from_secs(3600);

/// The sum of the replicas' demands. Totals never go backwards: those of a replica that is gone still count.
#[derive(Debug, Default)]
pub struct DemandSum {
    replicas: HashMap<String, Replica>,
    /// Totals of replicas that are no longer remembered one by one.
    forgotten: Totals,
    /// Replicas in the last reading.
    present: HashSet<String>,
    /// Replicas that were present before Redis was lost and are not back.
    awaited: HashSet<String>,
    resumed_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    accepted: u64,
    answered: u64,
    frames_done: u64,
}

#[derive(Debug)]
struct Replica {
    totals: Totals,
    seen_at: Instant,
}

/// Why the demand is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("no front has written its demand")]
    NoFront,
    #[error("{0} of the earlier fronts are not back yet")]
    Awaited(usize),
}

impl DemandSum {
    /// Records that Redis was lost. It may have lost the replicas, which come back one by one: until all have, or have had
    /// the time to, their sum would be too low.
    pub fn lost(&mut self) {
        self.awaited.extend(self.present.drain());
        self.resumed_at = None;
    }

    /// Adds a reading of every present replica's demand, and returns the sum.
    ///
    /// # Errors
    /// When there is no replica, or some are still missing.
    pub fn take(&mut self, reading: &[(String, Demand)], now: Instant) -> Result<Demand, Unknown> {
        for (id, demand) in reading {
            self.note(id, *demand, now);
        }
        self.forget(now);
        self.present = reading.iter().map(|(id, _)| id.clone()).collect();

        let resumed_at = *self.resumed_at.get_or_insert(now);
        let present = &self.present;
        self.awaited.retain(|id| !present.contains(id));
        if now.duration_since(resumed_at) >= TIME_TO_LIVE {
            self.awaited.clear();
        }
        if !self.awaited.is_empty() {
            return Err(Unknown::Awaited(self.awaited.len()));
        }
        if reading.is_empty() {
            return Err(Unknown::NoFront);
        }
        let totals = self
            .replicas
            .values()
            .fold(self.forgotten, |sum, replica| sum.plus(replica.totals));
        let sum_of = |count: fn(&Demand) -> u64| {
            let counts = reading.iter().map(|(_, demand)| count(demand));
            counts.fold(0, u64::saturating_add)
        };
        Ok(Demand {
            unanswered: sum_of(|demand| demand.unanswered),
            accepted_total: totals.accepted,
            answered_total: totals.answered,
            waiting_frames: sum_of(|demand| demand.waiting_frames),
            frames_done_total: totals.frames_done,
        })
    }

    fn note(&mut self, id: &str, demand: Demand, now: Instant) {
        let known = self.replicas.entry(id.to_owned()).or_insert(Replica {
            totals: Totals::default(),
            seen_at: now,
        });
        known.seen_at = now;
        known.totals = Totals {
            accepted: known.totals.accepted.max(demand.accepted_total),
            answered: known.totals.answered.max(demand.answered_total),
            frames_done: known.totals.frames_done.max(demand.frames_done_total),
        };
    }

    fn forget(&mut self, now: Instant) {
        let forgotten = &mut self.forgotten;
        self.replicas.retain(|_, replica| {
            let is_remembered = now.duration_since(replica.seen_at) < REMEMBER_FOR;
            if !is_remembered {
                *forgotten = forgotten.plus(replica.totals);
            }
            is_remembered
        });
    }
}

impl Totals {
    fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted.saturating_add(other.accepted),
            answered: self.answered.saturating_add(other.answered),
            frames_done: self.frames_done.saturating_add(other.frames_done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(unanswered: u64, accepted_total: u64) -> Demand {
        Demand {
            unanswered,
            accepted_total,
            answered_total: accepted_total - unanswered,
            waiting_frames: unanswered * 10,
            frames_done_total: accepted_total * 10,
        }
    }

    fn reading<const N: usize>(replicas: [(&str, Demand); N]) -> Vec<(String, Demand)> {
        replicas.map(|(id, demand)| (id.to_owned(), demand)).into()
    }

    #[test]
    fn demands_are_summed() {
        let mut sum = DemandSum::default();
        let both = reading([("a", of(1, 10)), ("b", of(2, 5))]);
        assert_eq!(sum.take(&both, Instant::now()), Ok(of(3, 15)));
    }

    #[test]
    fn no_front_is_not_a_demand_of_zero() {
        let mut sum = DemandSum::default();
        assert_eq!(sum.take(&[], Instant::now()), Err(Unknown::NoFront));
    }

    #[test]
    fn totals_stay_when_a_replica_goes_and_do_not_double_when_it_returns() {
        let (mut sum, now) = (DemandSum::default(), Instant::now());
        let both = reading([("a", of(1, 10)), ("b", of(2, 5))]);
        let total = |sum: &mut DemandSum, reading: &[_], now| sum.take(reading, now).unwrap();
        total(&mut sum, &both, now);
        let one = reading([("b", of(0, 5))]);
        let without = total(&mut sum, &one, now);
        assert_eq!((without.unanswered, without.accepted_total), (0, 15));
        assert_eq!(total(&mut sum, &both, now).accepted_total, 15);
        let much_later = now + REMEMBER_FOR;
        assert_eq!(total(&mut sum, &one, much_later).accepted_total, 15);
        assert!(!sum.replicas.contains_key("a"));
        let later_still = much_later + REMEMBER_FOR;
        assert_eq!(total(&mut sum, &one, later_still).accepted_total, 15);
    }

    #[test]
    fn a_total_that_goes_backwards_is_ignored() {
        let (mut sum, now) = (DemandSum::default(), Instant::now());
        sum.take(&reading([("a", of(0, 10))]), now).unwrap();
        let demand = sum.take(&reading([("a", of(1, 7))]), now).unwrap();
        assert_eq!(
            (
                demand.unanswered,
                demand.accepted_total,
                demand.answered_total
            ),
            (1, 10, 10)
        );
    }

    #[test]
    fn after_redis_was_lost_all_replicas_are_awaited() {
        let (mut sum, now) = (DemandSum::default(), Instant::now());
        let both = reading([("a", of(1, 10)), ("b", of(2, 5))]);
        let one = reading([("b", of(2, 5))]);
        sum.take(&both, now).unwrap();
        sum.lost();
        assert_eq!(sum.take(&[], now), Err(Unknown::Awaited(2)));
        assert_eq!(sum.take(&one, now), Err(Unknown::Awaited(1)));
        sum.lost();
        assert_eq!(sum.take(&one, now), Err(Unknown::Awaited(1)));
        assert_eq!(sum.take(&both, now), Ok(of(3, 15)));
        assert_eq!(sum.take(&one, now).unwrap().unanswered, 2, "one that ended");
    }

    #[test]
    fn a_replica_that_died_with_redis_is_not_awaited_forever() {
        let (mut sum, now) = (DemandSum::default(), Instant::now());
        let one = reading([("b", of(2, 5))]);
        sum.take(&reading([("a", of(1, 10)), ("b", of(2, 5))]), now)
            .unwrap();
        sum.lost();
        let resumed = now + Duration::from_secs(60);
        assert_eq!(sum.take(&one, resumed), Err(Unknown::Awaited(1)));
        let demand = sum.take(&one, resumed + TIME_TO_LIVE).unwrap();
        assert_eq!((demand.unanswered, demand.accepted_total), (2, 15));
    }
}
