use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::metric;
use crate::plan::{FailedBoots, InstanceId, Moment};

const SHORTEST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// The instances whose worker is not ready yet, and how those before them fared. An instance that stops by itself before
/// its worker was ready would do so again at once, so starts are held back ever longer until one succeeds.
#[derive(Debug, Default)]
pub struct Boots {
    /// When they were ordered to start.
    ordered: HashMap<InstanceId, Moment>,
    failed: Option<FailedBoots>,
    failed_at: Moment,
    /// How often each instance has failed to boot in a row.
    failures: HashMap<InstanceId, u32>,
    /// Whether an instance that fails again and again is to be terminated.
    keeps_hopeless: bool,
}

/// After how many failed boots in a row an instance is terminated, so that it does not spoil the pool.
const MOST_FAILURES: u32 = 3;

impl Boots {
    pub fn begin(&mut self, id: &InstanceId, now: Moment) {
        self.ordered.insert(id.clone(), now);
    }

    /// The start was refused, or the instance was ordered to stop.
    pub fn forget(&mut self, id: &InstanceId) {
        self.ordered.remove(id);
    }

    pub fn ready(&mut self, id: &InstanceId, now: Moment) {
        self.failures.remove(id);
        if let Some(ordered_at) = self.ordered.remove(id) {
            metric::boot_time(now.since(ordered_at));
            self.failed = None;
        }
    }

    /// The instance has stopped. Those that were started together count as one failure.
    pub fn stopped(&mut self, id: &InstanceId, now: Moment) {
        let Some(ordered_at) = self.ordered.remove(id) else {
            return;
        };
        self.count(id);
        let before = self.failed.map_or(0, |failed| failed.in_a_row);
        if before > 0 && ordered_at < self.failed_at {
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
    pub fn retain(&mut self, existing: &HashSet<&InstanceId>, now: Moment) {
        let gone = self.ordered.keys().filter(|id| !existing.contains(id));
        for id in gone.cloned().collect::<Vec<_>>() {
            self.stopped(&id, now);
        }
        self.failures.retain(|id, _| existing.contains(id));
    }

    /// Counts a boot of this instance that came to nothing.
    pub fn count(&mut self, id: &InstanceId) {
        if !self.keeps_hopeless {
            *self.failures.entry(id.clone()).or_default() += 1;
        }
    }

    /// Whether one more failed boot would be one too many.
    pub fn is_last_chance(&self, id: &InstanceId) -> bool {
        self.failures.get(id).copied().unwrap_or(0) + 1 >= MOST_FAILURES && !self.keeps_hopeless
    }

    /// Whether the instance has failed to boot too often.
    pub fn is_hopeless(&self, id: &InstanceId) -> bool {
        self.failures
            .get(id)
            .is_some_and(|failures| *failures >= MOST_FAILURES)
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
