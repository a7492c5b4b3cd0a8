//! What was ordered of EC2, and how the calls ended: it counts until EC2's own answers show it.

use std::collections::HashSet;

use platform::fleet::PowerState;
use proto::names::worker_instance;

use super::{LACK_REMEMBERED, World};
use crate::plan::{InstanceId, Timestamp};

impl World {
    /// Notes that these were terminated, and will not be listed any more.
    pub fn terminated(&mut self, ids: &[InstanceId]) {
        for id in ids {
            self.expectations.withdraw_start(id);
        }
    }

    /// Notes that these are being ordered to start. What their workers said before they stopped is void.
    pub fn starting(&mut self, ids: &[InstanceId], now: Timestamp) {
        for id in ids {
            self.attendance.forget(id);
            self.running_since.remove(id);
        }
        self.launched(ids, now);
    }

    /// Notes that these were launched. Their workers may be there already: what they said counts.
    pub fn launched(&mut self, ids: &[InstanceId], now: Timestamp) {
        self.attendance.admit(ids);
        for id in ids {
            self.expectations.start(id, now);
            self.boots.begin(id, now);
        }
    }

    /// Notes that a call to start them failed.
    pub fn not_starting(&mut self, ids: &[InstanceId]) {
        for id in ids {
            self.expectations.withdraw_start(id);
            self.boots.forget(id);
        }
    }

    /// Notes that EC2 has no capacity for these. That concerns all stopped ones of the same type in the same zone.
    pub fn cannot_start(&mut self, ids: &[InstanceId], now: Timestamp) {
        let refused = ids.iter().filter_map(|id| self.places.get(id));
        let kinds: HashSet<_> = refused
            .map(|place| &self.described[*place])
            .map(|found| (&found.instance_type, &found.zone))
            .collect();
        let alike = self.described.iter().filter(|found| {
            found.state == PowerState::Stopped
                && kinds.contains(&(&found.instance_type, &found.zone))
        });
        for found in alike {
            tracing::warn!(instance = found.id, "there is no capacity to start it");
            let until = now.after(LACK_REMEMBERED);
            self.unstartable.insert(found.id.as_str().into(), until);
        }
    }

    /// Notes that EC2 refuses to start these for what is the matter with themselves.
    pub fn cannot_start_itself(&mut self, ids: &[InstanceId], now: Timestamp) {
        for id in ids {
            tracing::warn!(instance = %id, "it cannot be started, so it is left out for a while");
            let until = now.after(LACK_REMEMBERED);
            self.unstartable.insert(id.clone(), until);
        }
    }

    /// Whether an instance whose worker is given up has failed before, and so often that it is to be terminated.
    #[must_use]
    pub fn fails_again(&self, id: &InstanceId) -> bool {
        self.boots.is_last_chance(id)
    }

    /// Notes that an instance is being stopped because its worker never attended.
    pub fn giving_up(&mut self, id: &InstanceId) {
        self.boots.give_up(id);
    }

    /// Notes that an instance was stopped because its worker never attended.
    pub fn boot_failed(&mut self, id: &InstanceId, now: Timestamp) {
        self.boots.stopped(id, now);
    }

    /// From now on no instance is given up for good.
    pub fn keep_hopeless(&mut self) {
        self.boots.keep_hopeless();
    }

    /// Stopped instances that have failed to boot too often. They are no longer observed.
    #[must_use]
    pub fn hopeless(&self) -> Vec<InstanceId> {
        let stopped = self
            .described
            .iter()
            .filter(|found| found.state == PowerState::Stopped);
        stopped
            .map(|found| InstanceId::from(found.id.as_str()))
            .filter(|id| self.boots.is_hopeless(id) && self.expectations.is_settled(id))
            .collect()
    }

    /// Notes that these are being ordered to stop. They count as stopping for as long as the call takes.
    pub fn stopping(&mut self, ids: &[InstanceId], now: Timestamp) {
        for id in ids {
            self.expectations.stop(id, now);
        }
    }

    /// Notes that a call to stop them has succeeded, or has ended without telling. EC2's answers from now on decide.
    pub fn stop_called(&mut self, ids: &[InstanceId], now: Timestamp) {
        for id in ids {
            self.expectations.stop_called(id, now);
        }
    }

    /// Notes that a call to stop them was refused.
    pub fn not_stopping(&mut self, ids: &[InstanceId]) {
        for id in ids {
            self.expectations.withdraw_stop(id);
            self.attendance.pardon(id);
        }
    }

    /// Notes that an instance was given the name of `number`.
    pub fn renamed(&mut self, id: &InstanceId, number: u32, now: Timestamp) {
        self.expectations.rename(id, worker_instance(number), now);
    }

    /// Notes that a call to name it failed.
    pub fn not_renamed(&mut self, id: &InstanceId) {
        self.expectations.withdraw_name(id);
    }
}
