use std::collections::HashMap;
use std::time::Duration;

use platform::fleet::{FleetInstance, PowerState};

use crate::plan::{InstanceId, Timestamp};

/// How long EC2's list may lag behind an order about an instance that it lists.
const LAG: Duration = Duration::from_secs(10);
/// How long EC2's list may lack a launched instance. Waiting costs less than launching another one in its place.
const LAUNCH_LAG: Duration = Duration::from_secs(300);

/// Orders to EC2 whose effect its list does not show yet.
#[derive(Debug, Default)]
pub struct Expectations {
    power: HashMap<InstanceId, (Expected, Timestamp)>,
    names: HashMap<InstanceId, (String, Timestamp)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Start,
    /// The call is in flight: any of its attempts may still stop the instance, no matter what EC2 lists.
    Stopping,
    /// The call has ended, and may have stopped the instance.
    Stop,
}

impl Expectations {
    pub fn start(&mut self, id: &InstanceId, now: Timestamp) {
        self.power.insert(id.clone(), (Expected::Start, now));
    }

    /// Expects a stop whose call is in flight. It stands until [`stop_called`](Self::stop_called) or
    /// [`withdraw_stop`](Self::withdraw_stop).
    pub fn stop(&mut self, id: &InstanceId, now: Timestamp) {
        self.power.insert(id.clone(), (Expected::Stopping, now));
    }

    /// The call to stop the instance has ended without a refusal.
    pub fn stop_called(&mut self, id: &InstanceId, now: Timestamp) {
        self.power.insert(id.clone(), (Expected::Stop, now));
    }

    pub fn rename(&mut self, id: &InstanceId, name: String, now: Timestamp) {
        self.names.insert(id.clone(), (name, now));
    }

    /// Drops an expected start. A later order to stop stands.
    pub fn withdraw_start(&mut self, id: &InstanceId) {
        if self.is_starting(id) {
            self.power.remove(id);
        }
    }

    pub fn withdraw_stop(&mut self, id: &InstanceId) {
        if self.is_stopping(id) {
            self.power.remove(id);
        }
    }

    pub fn withdraw_name(&mut self, id: &InstanceId) {
        self.names.remove(id);
    }

    pub fn is_starting(&self, id: &InstanceId) -> bool {
        self.starting_since(id).is_some()
    }

    /// Returns whether neither a start nor a stop is expected.
    pub fn is_settled(&self, id: &InstanceId) -> bool {
        !self.power.contains_key(id)
    }

    /// Returns when the instance was ordered to start, unless EC2 already shows the start.
    pub fn starting_since(&self, id: &InstanceId) -> Option<Timestamp> {
        let (expected, ordered_at) = self.power.get(id)?;
        (*expected == Expected::Start).then_some(*ordered_at)
    }

    pub fn is_stopping(&self, id: &InstanceId) -> bool {
        self.power
            .get(id)
            .is_some_and(|(expected, _)| matches!(expected, Expected::Stopping | Expected::Stop))
    }

    pub fn starting(&self) -> impl Iterator<Item = &InstanceId> {
        self.power
            .iter()
            .filter(|(_, (it, _))| *it == Expected::Start)
            .map(|(id, _)| id)
    }

    pub fn name(&self, id: &InstanceId) -> Option<&str> {
        self.names.get(id).map(|(name, _)| name.as_str())
    }

    /// Drops what EC2's reply to a question sent at `asked_at` shows to have happened. `found` returns what the reply says
    /// about an instance, and `heard` when its worker last reported.
    pub fn compare<'a>(
        &mut self,
        found: impl Fn(&InstanceId) -> Option<&'a FleetInstance>,
        asked_at: Timestamp,
        heard: impl Fn(&InstanceId) -> Option<Timestamp>,
    ) {
        self.power.retain(|id, (expected, ordered_at)| {
            if asked_at < *ordered_at {
                return true;
            }
            let power = found(id).map(|found| found.state);
            match expected {
                // An instance whose worker reported and that is listed as stopped afterwards has started and stopped.
                Expected::Start => {
                    !matches!(power, Some(PowerState::Pending | PowerState::Running))
                        && heard(id).is_none_or(|heard| heard >= asked_at)
                }
                Expected::Stopping => true,
                Expected::Stop => matches!(power, Some(PowerState::Pending | PowerState::Running)),
            }
        });
        self.names.retain(|id, (name, ordered_at)| {
            asked_at < *ordered_at || found(id).is_some_and(|found| found.name != *name)
        });
    }

    /// Returns instances that were launched at least [`LAG`] ago and are not listed: their launch may have failed.
    pub fn overdue(
        &self,
        is_listed: impl Fn(&InstanceId) -> bool,
        now: Timestamp,
    ) -> Vec<InstanceId> {
        let overdue = self.power.iter().filter(|(id, (expected, ordered_at))| {
            *expected == Expected::Start && now.since(*ordered_at) >= LAG && !is_listed(id)
        });
        overdue.map(|(id, _)| id.clone()).collect()
    }

    /// Drops orders that had no effect for longer than EC2's list may lag, as of the last list, which was asked for at
    /// `asked_at`. While EC2 does not reply, orders stand. Returns the instances that did not stop. Orders whose call is in
    /// flight stay.
    pub fn expire(
        &mut self,
        is_listed: impl Fn(&InstanceId) -> bool,
        asked_at: Timestamp,
    ) -> Vec<InstanceId> {
        self.names
            .retain(|_, (_, ordered_at)| asked_at.since(*ordered_at) < LAG);
        let expired = self.power.extract_if(|id, (expected, ordered_at)| {
            let lag = match expected {
                Expected::Stopping => return false,
                Expected::Start if !is_listed(id) => LAUNCH_LAG,
                Expected::Start | Expected::Stop => LAG,
            };
            asked_at.since(*ordered_at) >= lag
        });
        let unstopped = expired.filter(|(_, (expected, _))| *expected == Expected::Stop);
        unstopped.map(|(id, _)| id).collect()
    }
}
