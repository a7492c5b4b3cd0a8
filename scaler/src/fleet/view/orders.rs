//! Orders to workers; orders to EC2 and how their calls ended. Those to EC2 count until EC2's own list shows them.

use std::collections::HashSet;

use platform::fleet::PowerState;
use proto::names::worker_instance;

use super::{FleetView, UNSTARTABLE_REMEMBERED};
use crate::plan::{InstanceId, Plan, Stop, Timestamp};

impl FleetView {
    /// Orders the workers to take no more work, or to take work again.
    pub fn order_workers(&self, plan: &Plan) {
        plan.cordon.iter().for_each(|id| self.registry.cordon(id));
        let uncordoned = plan.uncordon.iter();
        uncordoned.for_each(|id| self.registry.uncordon(id));
    }

    /// Records instances that were terminated and will not be listed again.
    pub fn terminated(&mut self, ids: &[InstanceId]) {
        for id in ids {
            self.expectations.withdraw_start(id);
        }
    }

    /// Records an order to start stopped instances. Their workers' earlier reports no longer count.
    pub fn starting(&mut self, ids: &[InstanceId], now: Timestamp) {
        for id in ids {
            self.registry.forget(id);
            self.running_since.remove(id);
        }
        self.launched(ids, now);
    }

    /// Records launched instances. Reports of workers that attend already count.
    pub fn launched(&mut self, ids: &[InstanceId], now: Timestamp) {
        self.registry.admit(ids);
        for id in ids {
            self.expectations.start(id, now);
            self.boots.begin(id, now);
        }
    }

    /// Records that the call to start them failed.
    pub fn not_starting(&mut self, ids: &[InstanceId]) {
        for id in ids {
            self.expectations.withdraw_start(id);
            self.boots.forget(id);
        }
    }

    /// Records that EC2 lacks capacity to start these, and the error code by which it refused. The same holds for all stopped
    /// instances of the same type in the same zone.
    pub fn lacks_capacity(&mut self, ids: &[InstanceId], code: &str, now: Timestamp) {
        let refused = ids.iter().filter_map(|id| self.index.get(id));
        let pools: HashSet<_> = refused
            .map(|position| &self.described[*position])
            .map(|found| (&found.instance_type, &found.zone))
            .collect();
        let alike = self.described.iter().filter(|found| {
            found.state == PowerState::Stopped
                && pools.contains(&(&found.instance_type, &found.zone))
        });
        for found in alike {
            tracing::warn!(
                instance = found.id,
                code,
                "EC2 lacks capacity to start the instance"
            );
            let until = now.after(UNSTARTABLE_REMEMBERED);
            self.unstartable
                .insert(found.id.as_str().into(), (code.to_owned(), until));
        }
    }

    /// Records instances that EC2 refuses to start because of a fault of their own, and its error code.
    pub fn cannot_start(&mut self, ids: &[InstanceId], code: &str, now: Timestamp) {
        for id in ids {
            tracing::warn!(instance = %id, code, "the instance cannot be started and is left out for a while");
            let until = now.after(UNSTARTABLE_REMEMBERED);
            self.unstartable
                .insert(id.clone(), (code.to_owned(), until));
        }
    }

    /// Returns whether one more failed boot would make the instance count as broken.
    #[must_use]
    pub fn is_last_attempt(&self, id: &InstanceId) -> bool {
        self.boots.is_last_attempt(id)
    }

    /// Records an order to stop an instance because its worker never attended.
    pub fn giving_up(&mut self, id: &InstanceId) {
        self.boots.give_up(id);
    }

    /// Records that an instance was stopped because its worker never attended.
    pub fn boot_failed(&mut self, id: &InstanceId, now: Timestamp) {
        self.boots.stopped(id, now);
    }

    /// Stops counting instances as broken: they cannot be terminated.
    pub fn keep_broken(&mut self) {
        self.boots.keep_broken();
    }

    /// Treats outdated instances as all others: they cannot be terminated.
    pub fn keep_outdated(&mut self) {
        self.keeps_outdated = true;
    }

    /// Returns stopped instances that failed to boot too often. Observations leave them out.
    #[must_use]
    pub fn broken(&self) -> Vec<InstanceId> {
        self.stopped()
            .filter(|id| self.boots.is_broken(id) && self.expectations.is_settled(id))
            .collect()
    }

    /// Records the stops of a plan that was made at `now`. Returns those that no report since has made wrong: call EC2 for
    /// them.
    #[must_use]
    pub fn order_stops(&mut self, mut stops: Vec<Stop>, now: Timestamp) -> Vec<Stop> {
        stops.retain(|stop| self.registry.mark_stopping(&stop.id, stop.cause, now));
        for stop in &stops {
            if stop.cause.is_failed_boot() {
                self.giving_up(&stop.id);
            }
            self.expectations.stop(&stop.id, now);
        }
        stops
    }

    /// Records an order to stop these. They count as stopping while the call is in flight.
    pub fn stopping(&mut self, ids: &[InstanceId], now: Timestamp) {
        for id in ids {
            self.expectations.stop(id, now);
        }
    }

    /// Records that the call to stop them succeeded, or may have. EC2's replies from now on decide.
    pub fn stop_called(&mut self, ids: &[InstanceId], now: Timestamp) {
        for id in ids {
            self.expectations.stop_called(id, now);
        }
    }

    /// Records that EC2 refused to stop them.
    pub fn not_stopping(&mut self, ids: &[InstanceId]) {
        for id in ids {
            self.expectations.withdraw_stop(id);
            self.registry.unmark_stopping(id);
        }
    }

    /// Records that an instance has the name with `number`.
    pub fn renamed(&mut self, id: &InstanceId, number: u32, now: Timestamp) {
        self.expectations.rename(id, worker_instance(number), now);
    }

    /// Records that the call to rename it failed.
    pub fn not_renamed(&mut self, id: &InstanceId) {
        self.expectations.withdraw_name(id);
    }
}
