//! Pending requests, and the stored photos that they share. Pure: the time is an argument, and the caller notifies the
//! waiters.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use platform::demand::Demand;
use proto::JobId;

pub use keys::{KeyReferences, Released};

mod keys;

/// Pending requests by job id. `W`, the waiter, delivers an answer.
///
/// Every accepted waiter is returned exactly once: by [`Pending::reply`], [`Pending::finish`] or [`Pending::expire`].
#[derive(Debug)]
pub struct Pending<W> {
    requests: HashMap<JobId, Request<W>>,
    deadlines: BTreeSet<(Instant, JobId)>,
    /// Requests that got a worker's reply, oldest first, and the same for search.
    replied: VecDeque<JobId>,
    is_replied: HashSet<JobId>,
    accepted_total: u64,
}

/// What a worker's reply met.
#[derive(Debug, PartialEq, Eq)]
pub enum Replied<W> {
    /// It is this waiter's.
    Waited(W),
    /// The request had a reply already.
    Again,
    /// No request waits for it: it ended before, or an earlier front accepted it.
    Late,
}

/// Requests whose reply is remembered, to tell a duplicate from a late reply.
const REMEMBERED: usize = 20_000;

#[derive(Debug)]
struct Request<W> {
    waiter: W,
    accepted_at: Instant,
    deadline: Instant,
}

impl<W> Default for Pending<W> {
    fn default() -> Self {
        Self {
            requests: HashMap::new(),
            deadlines: BTreeSet::new(),
            replied: VecDeque::new(),
            is_replied: HashSet::new(),
            accepted_total: 0,
        }
    }
}

impl<W> Pending<W> {
    /// Adds a request.
    ///
    /// # Errors
    /// Returns the waiter when this id is pending already, or was until lately.
    pub fn accept(
        &mut self,
        id: JobId,
        waiter: W,
        now: Instant,
        deadline: Instant,
    ) -> Result<(), W> {
        if self.requests.contains_key(&id) || self.is_replied.contains(&id) {
            return Err(waiter);
        }
        self.requests.insert(
            id,
            Request {
                waiter,
                accepted_at: now,
                deadline,
            },
        );
        self.deadlines.insert((deadline, id));
        self.accepted_total += 1;
        Ok(())
    }

    /// Removes the request that a worker's reply is for.
    pub fn reply(&mut self, id: JobId) -> Replied<W> {
        let Some(waiter) = self.finish(id) else {
            let is_again = self.is_replied.contains(&id);
            return if is_again {
                Replied::Again
            } else {
                Replied::Late
            };
        };
        if self.replied.len() >= REMEMBERED
            && let Some(oldest) = self.replied.pop_front()
        {
            self.is_replied.remove(&oldest);
        }
        self.replied.push_back(id);
        self.is_replied.insert(id);
        Replied::Waited(waiter)
    }

    /// Removes a request that fails. Returns `None` when it is not pending.
    pub fn finish(&mut self, id: JobId) -> Option<W> {
        let request = self.requests.remove(&id)?;
        self.deadlines.remove(&(request.deadline, id));
        Some(request.waiter)
    }

    /// Removes all requests whose deadline is `now` or earlier, earliest first.
    pub fn expire(&mut self, now: Instant) -> Vec<W> {
        let mut expired = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            expired.extend(self.finish(id));
        }
        expired
    }

    /// Returns whether a request accepted at `time` or earlier is pending.
    #[must_use]
    pub fn any_accepted_by(&self, time: Instant) -> bool {
        self.requests
            .values()
            .any(|request| request.accepted_at <= time)
    }

    #[must_use]
    pub fn demand(&self) -> Demand {
        let unanswered = self.requests.len() as u64;
        Demand {
            unanswered,
            accepted_total: self.accepted_total,
            answered_total: self.accepted_total - unanswered,
            ..Demand::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_request_is_finished_once() {
        let (mut pending, id, now) = (Pending::default(), JobId::random(), Instant::now());
        pending.accept(id, "client", now, now + seconds(9)).unwrap();
        let demand = |unanswered| Demand {
            unanswered,
            accepted_total: 1,
            answered_total: 1 - unanswered,
            ..Demand::default()
        };
        assert_eq!(pending.demand(), demand(1));
        assert_eq!(pending.finish(id), Some("client"));
        assert_eq!(pending.finish(id), None, "a duplicate");
        assert_eq!(pending.finish(JobId::random()), None, "an unknown id");
        assert_eq!(pending.demand(), demand(0));
    }

    #[test]
    fn an_id_that_is_pending_is_refused_and_counted_once() {
        let (mut pending, id, now) = (Pending::default(), JobId::random(), Instant::now());
        pending.accept(id, "first", now, now + seconds(9)).unwrap();
        assert_eq!(
            pending.accept(id, "second", now, now + seconds(1)),
            Err("second")
        );
        assert!(pending.expire(now + seconds(2)).is_empty());
        assert_eq!(pending.demand().accepted_total, 1);
    }

    #[test]
    fn a_duplicate_is_told_from_a_late_reply() {
        let (mut pending, id, now) = (Pending::default(), JobId::random(), Instant::now());
        pending.accept(id, "client", now, now + seconds(9)).unwrap();
        assert_eq!(pending.reply(id), Replied::Waited("client"));
        assert_eq!(pending.reply(id), Replied::Again);
        let again = pending.accept(id, "client", now, now + seconds(9));
        assert_eq!(
            again,
            Err("client"),
            "a reply to the first would answer the second"
        );
        let late = JobId::random();
        pending
            .accept(late, "client", now, now + seconds(1))
            .unwrap();
        pending.expire(now + seconds(1));
        assert_eq!(pending.reply(late), Replied::Late);
        assert_eq!(
            pending.reply(JobId::random()),
            Replied::Late,
            "of an earlier front"
        );
    }

    #[test]
    fn replies_are_remembered_up_to_a_bound() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let mut ids = Vec::new();
        for _ in 0..=REMEMBERED {
            let id = JobId::random();
            pending.accept(id, (), now, now + seconds(9)).unwrap();
            pending.reply(id);
            ids.push(id);
        }
        assert_eq!(pending.reply(ids[0]), Replied::Late);
        assert_eq!(pending.reply(ids[1]), Replied::Again);
        assert_eq!(pending.is_replied.len(), REMEMBERED);
    }

    #[test]
    fn requests_expire_in_the_order_of_their_deadlines() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        for deadline in [3, 1, 2, 7] {
            pending
                .accept(JobId::random(), deadline, now, now + seconds(deadline))
                .unwrap();
        }
        assert!(pending.expire(now).is_empty());
        assert_eq!(pending.expire(now + seconds(3)), [1, 2, 3]);
        assert_eq!(pending.demand().unanswered, 1);
    }

    #[test]
    fn old_requests_are_found_until_they_are_finished() {
        let (mut pending, id, now) = (Pending::default(), JobId::random(), Instant::now());
        pending.accept(id, (), now, now + seconds(9)).unwrap();
        assert!(!pending.any_accepted_by(now - seconds(1)));
        assert!(pending.any_accepted_by(now));
        pending.finish(id);
        assert!(!pending.any_accepted_by(now));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Accept { slot: usize, timeout: u64 },
        Finish { slot: usize },
        Pass { seconds: u64 },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..6usize, 0..20u64).prop_map(|(slot, timeout)| Event::Accept { slot, timeout }),
            (0..6usize).prop_map(|slot| Event::Finish { slot }),
            (0..10u64).prop_map(|seconds| Event::Pass { seconds }),
        ]
    }

    proptest! {
        #[test]
        fn every_accepted_waiter_is_returned_exactly_once(events in prop::collection::vec(event(), 1..80)) {
            let ids: Vec<_> = (0..6).map(|_| JobId::random()).collect();
            let mut pending = Pending::default();
            let (mut now, mut accepted, mut out) = (Instant::now(), 0u64, Vec::new());
            for event in events {
                match event {
                    Event::Accept { slot, timeout } => {
                        let taken = pending.accept(ids[slot], accepted, now, now + seconds(timeout));
                        accepted += u64::from(taken.is_ok());
                    }
                    Event::Finish { slot } => out.extend(pending.finish(ids[slot])),
                    Event::Pass { seconds: passed } => {
                        now += seconds(passed);
                        out.extend(pending.expire(now));
                    }
                }
                let demand = pending.demand();
                prop_assert_eq!(demand.accepted_total, accepted);
                prop_assert_eq!(demand.answered_total, out.len() as u64);
            }
            out.extend(pending.expire(now + seconds(20)));
            out.sort_unstable();
            prop_assert_eq!(out, (0..accepted).collect::<Vec<_>>());
            prop_assert_eq!(pending.demand().unanswered, 0);
            prop_assert!(pending.deadlines.is_empty());
        }
    }
}
