//! The instances of one account. Pure: no clock, no processes. Calls return which processes to start and stop.

mod capacity;
mod filter;
mod instance;
mod instance_filters;
mod interruption;
#[cfg(test)]
mod model;
mod process_events;
mod region;
mod select;
mod spec;
mod tagging;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

pub use filter::{Filter, check_filters};
pub use instance::{Instance, InstanceState, Interruption, ProcessChange, StateChange};
pub use instance_filters::{INSTANCE_FILTERS, STATUS_FILTERS};
pub use region::Region;
pub use spec::{Disk, InterruptionAction, LaunchSpec, Market, MetadataOptions, Tags};
pub use tagging::{TagToDelete, check_tag_count, check_tag_keys, delete_tags, set_tags};

use super::Ec2Error;
use super::error::Ec2Result;
use crate::clock::Millis;
use crate::faults::Capacity;

/// The most tags of a resource.
pub const MAX_TAGS: usize = 50;

/// All instances, in the order of their launch.
#[derive(Debug, Default)]
pub struct Instances {
    by_sequence: BTreeMap<u64, Instance>,
    sequence_of: HashMap<String, u64>,
    /// Launches by client token: a repeated request launches nothing.
    launches: HashMap<String, Launch>,
    next_sequence: u64,
    /// Limits on the number of instances.
    capacity: Vec<Capacity>,
    /// The time after its launch in which an instance is unknown.
    describe_lag: Millis,
    next_cleanup: Millis,
}

const CLEANUP_INTERVAL: Millis = 60_000;
/// AWS remembers a client token for at least a day after the instances are gone.
const TOKEN_KEPT_FOR: Millis = 48 * 60 * 60 * 1000;

/// A launch to carry out.
#[derive(Debug, Clone)]
pub struct LaunchRequest {
    pub spec: LaunchSpec,
    pub reservation_id: String,
    /// Empty if the call has none.
    pub client_token: String,
    /// The maximum count of the call, which a repeated request must have as well.
    pub requested: usize,
    /// The identifiers of the instances to launch, drawn by the caller.
    pub instance_ids: Vec<String>,
}

#[derive(Debug)]
struct Launch {
    spec: LaunchSpec,
    requested: usize,
    instance_ids: Vec<String>,
    at: Millis,
}

impl Instances {
    /// Returns no instances.
    pub fn new(capacity: Vec<Capacity>, describe_lag: Millis) -> Self {
        Self {
            capacity,
            describe_lag,
            ..Self::default()
        }
    }

    /// Replaces capacity and lag. Instances that were launched before keep their lag.
    pub fn set_faults(&mut self, capacity: Vec<Capacity>, describe_lag: Millis) {
        self.capacity = capacity;
        self.describe_lag = describe_lag;
    }

    /// Launches instances, all `pending`. Returns their identifiers, and whether they are new.
    ///
    /// A repeated request with the same client token returns the instances that it launched before. The caller checks the
    /// capacity.
    ///
    /// # Errors
    /// `IdempotentParameterMismatch` when the token was used for another request, `TagLimitExceeded`.
    pub fn launch(
        &mut self,
        request: LaunchRequest,
        now: Millis,
    ) -> Ec2Result<(Vec<String>, bool)> {
        self.remove_expired(now);
        if let Some(launch) = self.launches.get(&request.client_token) {
            if launch.spec != request.spec || launch.requested != request.requested {
                return Err(Ec2Error::IdempotentParameterMismatch);
            }
            return Ok((launch.instance_ids.clone(), false));
        }
        if request.spec.tags.len() > MAX_TAGS {
            return Err(Ec2Error::TagLimitExceeded);
        }
        for (launch_index, instance_id) in request.instance_ids.iter().enumerate() {
            let instance = Instance {
                instance_id: instance_id.clone(),
                reservation_id: request.reservation_id.clone(),
                launch_index,
                sequence: self.next_sequence,
                client_token: request.client_token.clone(),
                tags: request.spec.tags.clone(),
                spec: request.spec.clone(),
                state: InstanceState::Pending,
                launched: now,
                visible_from: now + self.describe_lag,
                state_reason: None,
                state_transition: None,
                running_since: None,
                interruption: None,
                boot: 1,
            };
            self.sequence_of
                .insert(instance_id.clone(), self.next_sequence);
            self.by_sequence.insert(self.next_sequence, instance);
            self.next_sequence += 1;
        }
        if !request.client_token.is_empty() {
            let launch = Launch {
                spec: request.spec,
                requested: request.requested,
                instance_ids: request.instance_ids.clone(),
                at: now,
            };
            self.launches.insert(request.client_token, launch);
        }
        Ok((request.instance_ids, true))
    }

    /// Returns whether a launch with this client token is remembered.
    pub fn has_launched(&self, client_token: &str) -> bool {
        self.launches.contains_key(client_token)
    }

    /// Starts stopped instances: all, or none if one cannot be started or the capacity is too small for all.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `IncorrectInstanceState`, `InsufficientInstanceCapacity`.
    pub fn start(
        &mut self,
        ids: &[String],
        now: Millis,
    ) -> Ec2Result<Vec<(StateChange, ProcessChange)>> {
        self.check_exist(ids, now)?;
        self.check_each(ids, Instance::check_start)?;
        self.check_capacity_to_start(ids)?;
        self.change(ids, now, |_| Ok(()), |instance| instance.start(now))
    }

    /// Stops running instances: all or none.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `IncorrectInstanceState`, `UnsupportedOperation`, `OperationNotPermitted`.
    pub fn stop(
        &mut self,
        ids: &[String],
        force: bool,
        now: Millis,
    ) -> Ec2Result<Vec<(StateChange, ProcessChange)>> {
        self.change(ids, now, Instance::check_stop, |instance| {
            instance.stop(force, now)
        })
    }

    /// Terminates instances: all or none.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `OperationNotPermitted`.
    pub fn terminate(
        &mut self,
        ids: &[String],
        now: Millis,
    ) -> Ec2Result<Vec<(StateChange, ProcessChange)>> {
        self.change(ids, now, Instance::check_terminate, |instance| {
            instance.terminate(now)
        })
    }

    /// Returns an instance, visible or not.
    pub fn get(&self, id: &str) -> Option<&Instance> {
        self.by_sequence.get(self.sequence_of.get(id)?)
    }

    /// As `get`, to change the instance.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Instance> {
        self.by_sequence.get_mut(self.sequence_of.get(id)?)
    }

    /// Returns an instance that is visible at `now`.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn visible(&self, id: &str, now: Millis) -> Ec2Result<&Instance> {
        self.get(id)
            .filter(|instance| instance.is_visible(now))
            .ok_or_else(|| Ec2Error::InstanceNotFound(vec![id.to_owned()]))
    }

    /// As `visible`, to change the instance.
    ///
    /// # Errors
    /// As `visible`.
    pub fn visible_mut(&mut self, id: &str, now: Millis) -> Ec2Result<&mut Instance> {
        self.get_mut(id)
            .filter(|instance| instance.is_visible(now))
            .ok_or_else(|| Ec2Error::InstanceNotFound(vec![id.to_owned()]))
    }

    /// Returns all instances that are visible at `now`, in the order of their launch.
    pub fn all_visible(&self, now: Millis) -> impl Iterator<Item = &Instance> {
        self.by_sequence
            .values()
            .filter(move |instance| instance.is_visible(now))
    }

    /// Returns the number of instances with an address in a subnet.
    pub fn in_subnet(&self, subnet: &str) -> usize {
        let is_there = |instance: &&Instance| {
            instance.has_private_address() && instance.spec.subnet_id.as_deref() == Some(subnet)
        };
        self.by_sequence.values().filter(is_there).count()
    }

    /// Returns how many instances have, or are about to have, a process.
    pub fn active_count(&self) -> usize {
        let has_process = |instance: &&Instance| {
            !matches!(
                instance.state,
                InstanceState::Stopped | InstanceState::Terminated
            )
        };
        self.by_sequence.values().filter(has_process).count()
    }

    /// Checks that every instance is visible at `now`.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn check_exist(&self, ids: &[String], now: Millis) -> Ec2Result {
        let missing: Vec<String> = ids
            .iter()
            .filter(|id| self.visible(id, now).is_err())
            .cloned()
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Ec2Error::InstanceNotFound(missing))
        }
    }

    fn check_each(&self, ids: &[String], check: impl Fn(&Instance) -> Ec2Result) -> Ec2Result {
        ids.iter().filter_map(|id| self.get(id)).try_for_each(check)
    }

    fn change(
        &mut self,
        ids: &[String],
        now: Millis,
        check: impl Fn(&Instance) -> Ec2Result,
        apply: impl Fn(&mut Instance) -> ProcessChange,
    ) -> Ec2Result<Vec<(StateChange, ProcessChange)>> {
        self.remove_expired(now);
        self.check_exist(ids, now)?;
        self.check_each(ids, check)?;
        let mut changes = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(instance) = self.get_mut(id) else {
                continue;
            };
            let previous = instance.state;
            let effect = apply(instance);
            changes.push((
                StateChange {
                    instance_id: id.clone(),
                    previous,
                    current: instance.state,
                },
                effect,
            ));
        }
        Ok(changes)
    }

    /// Frees the memory of expired instances, which are invisible already.
    fn remove_expired(&mut self, now: Millis) {
        if now < self.next_cleanup {
            return;
        }
        self.next_cleanup = now + CLEANUP_INTERVAL;
        let expired: Vec<u64> = self
            .by_sequence
            .iter()
            .filter(|(_, instance)| instance.has_expired(now))
            .map(|(at, _)| *at)
            .collect();
        for sequence in expired {
            if let Some(instance) = self.by_sequence.remove(&sequence) {
                self.sequence_of.remove(&instance.instance_id);
            }
        }
        self.launches
            .retain(|_, launch| launch.at + TOKEN_KEPT_FOR > now);
    }
}
