//! The decision log: where the reconciler publishes its decisions, for status, watchers and lists.

mod feed;
pub mod replay;
pub(crate) mod stats;
mod totals;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use feed::Feed;
use stats::Stats;
use tokio::sync::watch;
pub use totals::Totals;

use crate::plan::{Memory, Observation, Plan, Policy, Rate, Smoothed, Timestamp, plan};

/// How many decisions that changed something are remembered.
const REMEMBERED: usize = 1_000;
/// How many instances decisions that are kept may list together, about 60 MB. A thousand decisions about 10,000 instances
/// take 1 GB.
const KEPT_INSTANCES: usize = 500_000;

/// A plan, what it was made from, and what was done so far.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// Counts up from 1; 0 before the first decision.
    pub sequence: u64,
    pub active: ActivePolicy,
    pub observation: Observation,
    pub plan: Plan,
    pub estimates: Estimated,
    pub totals: Totals,
    pub stats: Stats,
    /// What was remembered before; `None` in decisions that are only listed.
    pub before: Option<Arc<Memory>>,
    /// Why no plan was made: another scaler leads, or may.
    pub standing_by: Option<String>,
}

/// The policy in force, which may be changed while the scaler runs.
#[derive(Debug, Clone, Default)]
pub struct ActivePolicy {
    /// Counts the changes.
    pub version: u64,
    pub policy: Arc<Policy>,
}

impl From<Policy> for ActivePolicy {
    /// The policy that the scaler starts with.
    fn from(policy: Policy) -> Self {
        Self {
            version: 0,
            policy: Arc::new(policy),
        }
    }
}

/// The estimates as of a decision; see [`crate::plan::Estimates`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimated {
    /// Seconds.
    pub service: Option<Smoothed>,
    /// Seconds.
    pub boot: Option<Smoothed>,
    /// Of a clip's frame, in seconds.
    pub frame: Option<Smoothed>,
    pub arrivals: Rate,
}

/// Publishes decisions, and remembers those that changed something. Cloning shares it.
#[derive(Debug, Clone)]
pub struct DecisionLog {
    /// The newest decision.
    pub latest: watch::Sender<Arc<Decision>>,
    /// Decisions that changed something, or show a change of the fleet.
    pub changes: Feed,
    pub every: Feed,
    recent: Arc<Mutex<DecisionBuffer>>,
}

/// Decisions within limits, oldest first.
#[derive(Debug, Default)]
struct DecisionBuffer {
    decisions: VecDeque<Arc<Decision>>,
    /// How many instances they list together.
    instances: usize,
}

/// Plans and remembers. Returns the empty plan of a scaler that stands by when `standing_by` says why. Completed
/// measurements stay valid then. The rest of the memory does not: another scaler has acted meanwhile.
#[must_use]
pub fn decide(
    policy: &Policy,
    observation: &Observation,
    standing_by: Option<&str>,
    memory: &mut Memory,
) -> Plan {
    let before = std::mem::take(memory);
    let Some(why) = standing_by else {
        let decided;
        (decided, *memory) = plan(policy, observation, before);
        return decided;
    };
    memory.estimates = before.estimates.completed();
    Plan {
        reason: format!("standing by: {why}"),
        ..Plan::default()
    }
}

impl DecisionLog {
    #[must_use]
    pub fn new(active: ActivePolicy) -> Self {
        let none = Decision {
            active,
            ..Decision::default()
        };
        Self {
            latest: watch::Sender::new(Arc::new(none)),
            changes: Feed::new(256),
            every: Feed::new(1_024),
            recent: Arc::default(),
        }
    }

    pub fn publish(&self, decision: Decision) {
        let decision = Arc::new(decision);
        let before = self.latest.send_replace(Arc::clone(&decision));
        if decision.changes_something_after(&before) {
            let listed = Decision {
                before: None,
                ..(*decision).clone()
            };
            self.lock().push(Arc::new(listed), REMEMBERED);
        }
        if decision.is_worth_watching_after(&before) {
            self.changes.send(&decision);
        }
        self.every.send(&decision);
    }

    /// Returns the newest decisions that changed something, at most `limit` and made later than `since`, oldest first.
    #[must_use]
    pub fn recent(&self, limit: usize, since: Option<Timestamp>) -> Vec<Arc<Decision>> {
        let recent = self.lock();
        let later = recent
            .decisions
            .iter()
            .rev()
            .take_while(|it| since.is_none_or(|since| it.observation.now > since));
        let mut found: Vec<_> = later.take(limit).cloned().collect();
        found.reverse();
        found
    }

    fn lock(&self) -> MutexGuard<'_, DecisionBuffer> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DecisionBuffer {
    /// Adds a decision, and forgets the oldest ones beyond `most` and beyond the limit on instances. The newest one always
    /// stays.
    fn push(&mut self, decision: Arc<Decision>, most: usize) {
        self.instances += decision.instances();
        self.decisions.push_back(decision);
        while self.decisions.len() > 1
            && (self.decisions.len() > most || self.instances > KEPT_INSTANCES)
        {
            let Some(oldest) = self.decisions.pop_front() else {
                return;
            };
            self.instances -= oldest.instances();
        }
    }
}

impl Decision {
    /// Returns how many instances it lists.
    fn instances(&self) -> usize {
        self.observation.instances.len() + self.observation.left_out.len()
    }

    fn changes_something_after(&self, before: &Self) -> bool {
        self.plan.changes_something()
            || self.plan.desired_workers != before.plan.desired_workers
            || self.active.version != before.active.version
            || self.standing_by.is_some() != before.standing_by.is_some()
    }

    fn is_worth_watching_after(&self, before: &Self) -> bool {
        let up = |decision: &Self| {
            let states = decision.observation.instances.iter().map(|i| i.state);
            states
                .filter(|state| state.is_capacity() || state.is_withdrawn())
                .count()
        };
        self.changes_something_after(before) || up(self) != up(before)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Timestamped;
    use crate::plan::fixtures::{Fleet, NOW};

    fn decision(sequence: u64, desired_workers: u32) -> Decision {
        Decision {
            sequence,
            observation: Observation {
                now: Timestamp::after_epoch(Duration::from_secs(sequence)),
                ..Observation::default()
            },
            plan: Plan {
                desired_workers,
                ..Plan::default()
            },
            ..Decision::default()
        }
    }

    #[test]
    fn the_newest_decisions_that_changed_something_are_remembered() {
        let log = DecisionLog::new(ActivePolicy::default());
        for sequence in 1..=3_000 {
            // Every other decision repeats the one before.
            log.publish(decision(sequence, (sequence / 2) as u32));
        }
        let sequences = |limit, since| -> Vec<_> {
            let recent = log.recent(limit, since);
            recent.iter().map(|it| it.sequence).collect()
        };
        assert_eq!(sequences(2, None), [2_998, 3_000]);
        let all = sequences(usize::MAX, None);
        assert_eq!((all.len(), all[0]), (REMEMBERED, 1_002));
        let since = Timestamp::after_epoch(Duration::from_secs(2_996));
        assert_eq!(sequences(10, Some(since)), [2_998, 3_000]);
    }

    #[test]
    fn decisions_about_a_large_fleet_do_not_fill_the_memory() {
        let log = DecisionLog::new(ActivePolicy::default());
        let instance = Fleet::of(1).busy().observation.instances.remove(0);
        let publish = |sequence, instances| {
            let mut decided = decision(sequence, sequence as u32);
            decided.observation.instances = vec![instance.clone(); instances];
            log.publish(decided);
        };
        let sequences = || -> Vec<_> {
            let recent = log.recent(usize::MAX, None);
            recent.iter().map(|it| it.sequence).collect()
        };
        for sequence in 1..=20 {
            publish(sequence, 100_000);
        }
        assert_eq!(sequences(), [16, 17, 18, 19, 20]);
        publish(21, KEPT_INSTANCES + 1);
        assert_eq!(sequences(), [21]);
        publish(22, 1);
        publish(23, 0);
        assert_eq!(sequences(), [22, 23]);
    }

    /// Hours of it were once taken for one boot, and for the time of a few requests.
    #[test]
    fn nothing_is_measured_across_a_time_on_standby() {
        let at = |fleet: Fleet, now: Timestamp| {
            let mut observation = fleet.with_backlog(8).observation;
            observation.now = now;
            observation.described_at = Some(now);
            observation.front = observation.front.map(|it| Timestamped { at: now, ..it });
            for instance in &mut observation.instances {
                instance.started_at = Some(NOW);
                (instance.since, instance.heard) = (now, Some(now));
            }
            observation
        };
        let policy = Fleet::none().policy;
        let busy_and_booting = at(Fleet::of(1).busy().and(1).booting(), NOW);
        let (_, mut memory) = plan(&policy, &busy_and_booting, Memory::default());
        let why = Some("10.0.0.9:50052 leads");
        let nothing = decide(&policy, &busy_and_booting, why, &mut memory);
        assert!(!nothing.changes_something());
        let later = NOW.after(Duration::from_secs(3 * 3_600));
        let mut answered = at(Fleet::of(1).busy().and(1).idle(), later);
        let (_, memory) = plan(&policy, &answered, memory);
        // A reply after a second in which two workers served.
        answered.now = later.after(Duration::from_secs(1));
        if let Some(front) = &mut answered.front {
            front.value.answered_total += 1;
        }
        let estimates = plan(&policy, &answered, memory).1.estimates;
        assert_eq!(estimates.boot.map(|it| it.samples), Some(0));
        let service = estimates.service.unwrap();
        assert_eq!((service.samples, service.mean), (1, 2.0));
    }

    #[tokio::test]
    async fn watchers_receive_a_change_of_the_policy() {
        let log = DecisionLog::new(ActivePolicy::default());
        let mut changes = log.changes.subscribe();
        let mut paused = decision(1, 0);
        paused.active.version = 1;
        log.publish(paused);
        let received = changes.recv().await.unwrap().upgrade();
        assert_eq!(received.map(|it| it.sequence), Some(1));
    }
}
