use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::metric;
use crate::plan::{FailedBoots, InstanceId, Timestamp};

const SHORTEST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// The instances whose worker is not ready yet, and how those before them fared. An instance that stops by itself before
/// its worker was ready, or whose worker never came up, would do so again, so starts are held back ever longer until one
/// succeeds.
#[derive(Debug, Default)]
pub struct Boots {
    under_way: HashMap<InstanceId, Boot>,
    failed: Option<FailedBoots>,
    failed_at: Timestamp,
    /// How the instances have failed to boot in a row.
    failures: HashMap<InstanceId, Failures>,
    /// When a worker was last seen to be ready.
    ready_at: Option<Timestamp>,
    /// Whether an instance that fails again and again is to be terminated.
    keeps_hopeless: bool,
}

#[derive(Debug, Clone, Copy)]
struct Boot {
    /// When it was ordered; absent for one that another scaler ordered.
    ordered_at: Option<Timestamp>,
    /// It is ordered to stop because its worker never came up, so when it stops it has failed.
    given_up: bool,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    first_at: Timestamp,
}

/// After how many failed boots in a row an instance is terminated, so that it does not spoil the pool.
const MOST_FAILURES: u32 = 3;

impl Boots {
    pub fn begin(&mut self, id: &InstanceId, now: Timestamp) {
        let boot = Boot {
            ordered_at: Some(now),
            given_up: false,
        };
        self.under_way.insert(id.clone(), boot);
    }

    /// The start was refused, or the instance was ordered to stop for another reason than that its worker never came up.
    pub fn forget(&mut self, id: &InstanceId) {
        if self.under_way.get(id).is_some_and(|boot| !boot.given_up) {
            self.under_way.remove(id);
        }
    }

    /// The instance is being stopped because its worker never came up.
    pub fn give_up(&mut self, id: &InstanceId) {
        let unknown = Boot {
            ordered_at: None,
            given_up: true,
        };
        let boot = self.under_way.entry(id.clone()).or_insert(unknown);
        boot.given_up = true;
    }

    pub fn ready(&mut self, id: &InstanceId, now: Timestamp) {
        self.failures.remove(id);
        if let Some(boot) = self.under_way.remove(id) {
            if let Some(ordered_at) = boot.ordered_at {
                metric::boot_time(now.since(ordered_at));
            }
            self.failed = None;
        }
        self.ready_at = Some(now);
    }

    /// The instance has stopped, or was stopped. Those that were started together count as one failure.
    pub fn stopped(&mut self, id: &InstanceId, now: Timestamp) {
        let Some(boot) = self.under_way.remove(id) else {
            return;
        };
        self.count(id, now);
        let before = self.failed.map_or(0, |failed| failed.in_a_row);
        if before > 0 && boot.ordered_at.is_none_or(|at| at < self.failed_at) {
            return;
        }
        let hold = SHORTEST_HOLD
            .saturating_mul(2_u32.saturating_pow(before))
            .min(LONGEST_HOLD);
        let in_a_row = before.saturating_add(1);
        self.failed_at = now;
        self.failed = Some(FailedBoots {
            in_a_row,
            held_until: now.after(hold),
        });
        tracing::warn!(instance = %id, in_a_row, ?hold, "an instance stopped before its worker was ready");
    }

    /// Instances that are no longer there have stopped, too.
    pub fn retain(&mut self, existing: &HashSet<&InstanceId>, now: Timestamp) {
        let gone = self.under_way.keys().filter(|id| !existing.contains(id));
        for id in gone.cloned().collect::<Vec<_>>() {
            self.stopped(&id, now);
        }
        self.failures.retain(|id, _| existing.contains(id));
    }

    /// Counts a boot of this instance that came to nothing.
    fn count(&mut self, id: &InstanceId, now: Timestamp) {
        if !self.keeps_hopeless {
            let none = Failures {
                count: 0,
                first_at: now,
            };
            self.failures.entry(id.clone()).or_insert(none).count += 1;
        }
    }

    /// Whether one more failed boot would be one too many.
    pub fn is_last_chance(&self, id: &InstanceId) -> bool {
        self.has_failed(id, MOST_FAILURES - 1)
    }

    /// Whether the instance has failed to boot too often.
    pub fn is_hopeless(&self, id: &InstanceId) -> bool {
        self.has_failed(id, MOST_FAILURES)
    }

    /// Whether it has failed so often for what is the matter with itself: since its first failure another one has been ready.
    /// Otherwise the fault may be common to all, such as an image or a network that is broken, and by and by every instance
    /// would be terminated for it.
    fn has_failed(&self, id: &InstanceId, times: u32) -> bool {
        self.failures.get(id).is_some_and(|failures| {
            let another_was_ready = self.ready_at.is_some_and(|at| at > failures.first_at);
            failures.count >= times && another_was_ready
        })
    }

    /// From now on none counts as hopeless.
    pub fn keep_hopeless(&mut self) {
        self.keeps_hopeless = true;
        self.failures.clear();
    }

    pub fn failed(&self) -> Option<FailedBoots> {
        self.failed
    }
}
