use std::collections::{HashMap, HashSet};
use std::time::Duration;

use platform::backoff::Backoff;

use crate::plan::{FailedBoots, InstanceId, Timestamp};

/// How long starts are held back after a failed boot.
const HOLD: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// An instance that failed to boot this often in a row counts as broken.
const MOST_FAILURES: u32 = 3;

/// Starts whose worker is not ready yet, and failed boots. An instance that stops before its worker is ready, or whose
/// worker never attends, would fail again. So starts are held back with exponential backoff until one succeeds.
#[derive(Debug, Default)]
pub struct Boots {
    in_flight: HashMap<InstanceId, Boot>,
    failed: Option<FailedBoots>,
    failed_at: Timestamp,
    /// Failed boots in a row, by instance.
    failures: HashMap<InstanceId, Failures>,
    /// When a worker was last ready.
    ready_at: Option<Timestamp>,
    keeps_broken: bool,
    /// Successful boots that were not collected yet.
    durations: Vec<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Boot {
    /// `None` for a start that an earlier scaler ordered.
    ordered_at: Option<Timestamp>,
    /// It is being stopped because its worker never attended, so it has failed when it stops.
    given_up: bool,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    first_at: Timestamp,
}

impl Boots {
    pub fn begin(&mut self, id: &InstanceId, now: Timestamp) {
        let boot = Boot {
            ordered_at: Some(now),
            given_up: false,
        };
        self.in_flight.insert(id.clone(), boot);
    }

    /// Drops a start that was refused, or whose instance stops for another reason than a worker that never attended.
    pub fn forget(&mut self, id: &InstanceId) {
        if self.in_flight.get(id).is_some_and(|boot| !boot.given_up) {
            self.in_flight.remove(id);
        }
    }

    /// Records that the instance is being stopped because its worker never attended.
    pub fn give_up(&mut self, id: &InstanceId) {
        let unknown = Boot {
            ordered_at: None,
            given_up: true,
        };
        let boot = self.in_flight.entry(id.clone()).or_insert(unknown);
        boot.given_up = true;
    }

    pub fn ready(&mut self, id: &InstanceId, now: Timestamp) {
        self.failures.remove(id);
        if let Some(boot) = self.in_flight.remove(id) {
            let ordered_at = boot.ordered_at;
            self.durations.extend(ordered_at.map(|at| now.since(at)));
            self.failed = None;
        }
        self.ready_at = Some(now);
    }

    /// Records that the instance has stopped. Instances that were started together count as one failure.
    pub fn stopped(&mut self, id: &InstanceId, now: Timestamp) {
        let Some(boot) = self.in_flight.remove(id) else {
            return;
        };
        self.count(id, now);
        let before = self.failed.map_or(0, |failed| failed.in_a_row);
        if before > 0 && boot.ordered_at.is_none_or(|at| at < self.failed_at) {
            return;
        }
        let hold = HOLD.pause_after(before);
        let in_a_row = before.saturating_add(1);
        self.failed_at = now;
        self.failed = Some(FailedBoots {
            in_a_row,
            held_until: now.after(hold),
        });
        tracing::warn!(instance = %id, in_a_row, ?hold, "an instance stopped before its worker was ready");
    }

    /// Records instances that no longer exist as stopped.
    pub fn retain(&mut self, existing: &HashSet<&InstanceId>, now: Timestamp) {
        let gone = self.in_flight.keys().filter(|id| !existing.contains(id));
        for id in gone.cloned().collect::<Vec<_>>() {
            self.stopped(&id, now);
        }
        self.failures.retain(|id, _| existing.contains(id));
    }

    fn count(&mut self, id: &InstanceId, now: Timestamp) {
        if !self.keeps_broken {
            let none = Failures {
                count: 0,
                first_at: now,
            };
            self.failures.entry(id.clone()).or_insert(none).count += 1;
        }
    }

    /// Returns whether one more failed boot would make the instance count as broken.
    pub fn is_last_attempt(&self, id: &InstanceId) -> bool {
        self.has_failed(id, MOST_FAILURES - 1)
    }

    /// Returns whether the instance failed to boot too often.
    pub fn is_broken(&self, id: &InstanceId) -> bool {
        self.has_failed(id, MOST_FAILURES)
    }

    /// Returns whether the instance failed this often by a fault of its own: another instance became ready since its
    /// first failure. Otherwise the fault may be common to all, such as a broken image or network, and would end the
    /// whole pool.
    fn has_failed(&self, id: &InstanceId, times: u32) -> bool {
        self.failures.get(id).is_some_and(|failures| {
            let another_was_ready = self.ready_at.is_some_and(|at| at > failures.first_at);
            failures.count >= times && another_was_ready
        })
    }

    /// Counts no instance as broken from now on.
    pub fn keep_broken(&mut self) {
        self.keeps_broken = true;
        self.failures.clear();
    }

    pub fn failed(&self) -> Option<FailedBoots> {
        self.failed
    }

    /// Returns how long boots took whose worker became ready since the last call.
    pub fn take_durations(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.durations)
    }
}
