//! Where the loop publishes its decisions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::execute::Totals;
use crate::plan::{Memory, Observation, Plan, Policy, Rate, Smoothed, Timestamp};
use crate::tally::Tally;

/// How many decisions that changed something are remembered.
const REMEMBERED: usize = 1_000;
/// How many instances these may list together, about 60 MB: a thousand decisions about 10,000 instances take 1 GB.
const REMEMBERED_INSTANCES: usize = 500_000;

/// A plan, what it was made from, and what was done so far.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Counts up from 1; 0 before the first decision.
    pub sequence: u64,
    pub settings: Settings,
    pub observation: Observation,
    pub plan: Plan,
    pub estimates: Estimated,
    pub totals: Totals,
    pub tally: Tally,
    /// What was remembered before; absent in decisions that are only listed.
    pub before: Option<Arc<Memory>>,
    /// Why no plan was made: another scaler leads, or may.
    pub standing_by: Option<String>,
}

/// The policy in force, which may be changed while the scaler runs.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Counts the changes.
    pub version: u64,
    pub policy: Arc<Policy>,
}

/// The estimates as of a decision; see [`crate::plan::Estimates`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimated {
    /// Seconds.
    pub service: Option<Smoothed>,
    /// Seconds.
    pub boot: Option<Smoothed>,
    pub arrivals: Rate,
}

/// Where decisions are published. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Board {
    /// The newest one.
    pub latest: watch::Sender<Arc<Decision>>,
    /// Those that a watcher wants to know.
    pub changes: broadcast::Sender<Arc<Decision>>,
    /// All.
    pub every: broadcast::Sender<Arc<Decision>>,
    recent: Arc<Mutex<Recent>>,
}

/// The last decisions that changed something, oldest first.
#[derive(Debug, Default)]
struct Recent {
    decisions: VecDeque<Arc<Decision>>,
    /// How many instances they list together.
    instances: usize,
}

impl Board {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let none = Decision {
            sequence: 0,
            settings,
            observation: Observation::default(),
            plan: Plan::default(),
            estimates: Estimated::default(),
            totals: Totals::default(),
            tally: Tally::default(),
            before: None,
            standing_by: None,
        };
        Self {
            latest: watch::Sender::new(Arc::new(none)),
            changes: broadcast::Sender::new(256),
            every: broadcast::Sender::new(1_024),
            recent: Arc::default(),
        }
    }

    pub fn publish(&self, decision: Decision) {
        let decision = Arc::new(decision);
        let before = self.latest.send_replace(Arc::clone(&decision));
        if decision.decides_otherwise_than(&before) {
            self.lock().push(Decision {
                before: None,
                ..(*decision).clone()
            });
        }
        // Where nobody watches there is nothing to do.
        if decision.differs_from(&before) {
            drop(self.changes.send(Arc::clone(&decision)));
        }
        drop(self.every.send(decision));
    }

    /// The newest decisions that changed something, at most `limit` and made later than `since`, oldest first.
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

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Forgets the oldest ones where there are too many. The newest one stays, however large.
    fn push(&mut self, decision: Decision) {
        self.instances += decision.observation.instances.len();
        self.decisions.push_back(Arc::new(decision));
        while self.decisions.len() > REMEMBERED
            || (self.instances > REMEMBERED_INSTANCES && self.decisions.len() > 1)
        {
            let Some(oldest) = self.decisions.pop_front() else {
                return;
            };
            self.instances -= oldest.observation.instances.len();
        }
    }
}

impl Decision {
    /// Whether something is done, or will be done otherwise from now on.
    fn decides_otherwise_than(&self, before: &Self) -> bool {
        self.plan.changes_something()
            || self.plan.desired_workers != before.plan.desired_workers
            || self.settings.version != before.settings.version
            || self.standing_by.is_some() != before.standing_by.is_some()
    }

    /// Whether something is done, or has happened, that a watcher wants to know.
    fn differs_from(&self, before: &Self) -> bool {
        let up = |decision: &Self| {
            let states = decision.observation.instances.iter().map(|i| i.state);
            states
                .filter(|state| state.is_capacity() || state.is_withdrawn())
                .count()
        };
        self.decides_otherwise_than(before) || up(self) != up(before)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn decision(board: &Board, sequence: u64, desired_workers: u32) -> Decision {
        let before = Arc::clone(&board.latest.borrow());
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
            ..(*before).clone()
        }
    }

    #[test]
    fn the_newest_decisions_that_changed_something_are_remembered() {
        let board = Board::new(Settings::default());
        for sequence in 1..=3_000 {
            // Every other one repeats the one before.
            board.publish(decision(&board, sequence, (sequence / 2) as u32));
        }
        let sequences = |limit, since| -> Vec<_> {
            let recent = board.recent(limit, since);
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
        let board = Board::new(Settings::default());
        let instance = crate::plan::Instance {
            id: "i-1".into(),
            number: None,
            state: crate::plan::State::Busy,
            since: Timestamp::default(),
            heard: None,
            started_at: None,
            running_since: None,
            listed: true,
            leaving: false,
        };
        let publish = |sequence, instances| {
            let mut decided = decision(&board, sequence, sequence as u32);
            decided.observation.instances = vec![instance.clone(); instances];
            board.publish(decided);
        };
        let sequences = || -> Vec<_> {
            let recent = board.recent(usize::MAX, None);
            recent.iter().map(|it| it.sequence).collect()
        };
        for sequence in 1..=20 {
            publish(sequence, 100_000);
        }
        assert_eq!(sequences(), [16, 17, 18, 19, 20]);
        publish(21, REMEMBERED_INSTANCES + 1);
        assert_eq!(sequences(), [21]);
        publish(22, 1);
        publish(23, 0);
        assert_eq!(sequences(), [22, 23]);
    }

    #[tokio::test]
    async fn a_change_of_the_settings_is_told_to_watchers() {
        let board = Board::new(Settings::default());
        let mut changes = board.changes.subscribe();
        let mut paused = decision(&board, 1, 0);
        paused.settings.version = 1;
        board.publish(paused);
        assert_eq!(changes.recv().await.map(|it| it.sequence), Ok(1));
    }
}
