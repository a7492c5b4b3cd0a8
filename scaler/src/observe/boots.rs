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
}

impl Boots {
    pub fn begin(&mut self, id: &InstanceId, now: Moment) {
        self.ordered.insert(id.clone(), now);
    }

    /// The start was refused, or the instance was ordered to stop.
    pub fn forget(&mut self, id: &InstanceId) {
        self.ordered.remove(id);
    }

    pub fn ready(&mut self, id: &InstanceId, now: Moment) {
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
    }

    pub fn failed(&self) -> Option<FailedBoots> {
        self.failed
    }
}
