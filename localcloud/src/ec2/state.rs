//! The instances of one account: pure state, no clock, no processes. Calls answer which processes to start and end.

mod capacity;
mod filter;
mod instance;
mod interruption;
#[cfg(test)]
mod model;
mod process_events;
mod properties;
mod select;
mod spec;
mod tagging;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

pub use filter::{Filter, check_filters};
pub use instance::{Effect, Instance, InstanceState, Interruption, StateChange};
pub use properties::{INSTANCE_FILTERS, Place, STATUS_FILTERS};
pub use spec::{InterruptionAction, LaunchSpec, Market, MetadataOptions, Tags};

use super::Ec2Error;
use crate::clock::Millis;
use crate::faults::Capacity;

/// More tags than this AWS does not put on a resource.
pub const MOST_TAGS: usize = 50;

/// All instances, in the order of their launch.
#[derive(Debug, Default)]
pub struct Instances {
    by_sequence: BTreeMap<u64, Instance>,
    sequence_of: HashMap<String, u64>,
    /// Launches by client token, so that a repeated request launches nothing twice.
    launches: HashMap<String, Launch>,
    next_sequence: u64,
    /// Where there is room for instances; everywhere, if this is empty.
    capacity: Vec<Capacity>,
    /// For how long after its launch an instance is unknown.
    describe_lag: Millis,
    place: Place,
    /// When it is worth the time to look for what can be forgotten.
    forget_next: Millis,
}

/// How often what nobody can see any more is removed.
const FORGET_EVERY: Millis = 60_000;

/// A launch to carry out.
#[derive(Debug, Clone)]
pub struct LaunchOrder {
    pub spec: LaunchSpec,
    pub reservation_id: String,
    /// Empty if the client gave none.
    pub client_token: String,
    /// How many instances the client asked for at most; a repeated request must ask for as many.
    pub requested: usize,
    /// One identifier for each instance to launch; drawn by the caller.
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
    /// No instances, with room for some and a lag before calls know a new one.
    pub fn new(capacity: Vec<Capacity>, describe_lag: Millis) -> Self {
        Self {
            capacity,
            describe_lag,
            ..Self::default()
        }
    }

    /// The same in a region, which filters for zones and names need to know.
    #[must_use]
    pub fn in_place(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// From now on there is room for others, and new instances become known after another time.
    pub fn set_faults(&mut self, capacity: Vec<Capacity>, describe_lag: Millis) {
        self.capacity = capacity;
        self.describe_lag = describe_lag;
    }

    /// Launches instances, all `pending`, and answers their identifiers and whether they are new: a repeated request
    /// with the same client token answers the instances that it launched before. How many there is room for is the
    /// caller's business.
    ///
    /// # Errors
    /// `IdempotentParameterMismatch` when the token was used for another request, `TagLimitExceeded`.
    pub fn launch(
        &mut self,
        order: LaunchOrder,
        now: Millis,
    ) -> Result<(Vec<String>, bool), Ec2Error> {
        self.forget(now);
        if let Some(launch) = self.launches.get(&order.client_token) {
            if launch.spec != order.spec || launch.requested != order.requested {
                return Err(Ec2Error::IdempotentParameterMismatch);
            }
            return Ok((launch.instance_ids.clone(), false));
        }
        if order.spec.tags.len() > MOST_TAGS {
            return Err(Ec2Error::TagLimitExceeded);
        }
        for (launch_index, instance_id) in order.instance_ids.iter().enumerate() {
            let instance = Instance {
                instance_id: instance_id.clone(),
                reservation_id: order.reservation_id.clone(),
                launch_index,
                sequence: self.next_sequence,
                client_token: order.client_token.clone(),
                tags: order.spec.tags.clone(),
                spec: order.spec.clone(),
                state: InstanceState::Pending,
                launched: now,
                known_from: now + self.describe_lag,
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
        if !order.client_token.is_empty() {
            let launch = Launch {
                spec: order.spec,
                requested: order.requested,
                instance_ids: order.instance_ids.clone(),
                at: now,
            };
            self.launches.insert(order.client_token, launch);
        }
        Ok((order.instance_ids, true))
    }

    /// Whether a launch with this client token is remembered.
    pub fn has_launched(&self, client_token: &str) -> bool {
        self.launches.contains_key(client_token)
    }

    /// Starts stopped instances: all or, if one may not be started or there is no room for all, none.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `IncorrectInstanceState`, `InsufficientInstanceCapacity`.
    pub fn start(
        &mut self,
        ids: &[String],
        now: Millis,
    ) -> Result<Vec<(StateChange, Effect)>, Ec2Error> {
        self.check_exist(ids, now)?;
        self.check_each(ids, Instance::check_start)?;
        self.check_room_to_start(ids)?;
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
    ) -> Result<Vec<(StateChange, Effect)>, Ec2Error> {
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
    ) -> Result<Vec<(StateChange, Effect)>, Ec2Error> {
        self.change(ids, now, Instance::check_terminate, |instance| {
            instance.terminate(now)
        })
    }

    /// One instance.
    pub fn get(&self, id: &str) -> Option<&Instance> {
        self.by_sequence.get(self.sequence_of.get(id)?)
    }

    /// One instance, to tell it news of its process.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Instance> {
        self.by_sequence.get_mut(self.sequence_of.get(id)?)
    }

    /// All instances that are known at `now`, in the order of their launch.
    pub fn known(&self, now: Millis) -> impl Iterator<Item = &Instance> {
        self.by_sequence
            .values()
            .filter(move |instance| instance.is_known(now))
    }

    /// How many instances have, or are about to have, a process.
    pub fn live_count(&self) -> usize {
        let has_process = |instance: &&Instance| {
            !matches!(
                instance.state,
                InstanceState::Stopped | InstanceState::Terminated
            )
        };
        self.by_sequence.values().filter(has_process).count()
    }

    /// Checks that every identifier is known at `now`.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn check_exist(&self, ids: &[String], now: Millis) -> Result<(), Ec2Error> {
        let missing: Vec<String> = ids
            .iter()
            .filter(|id| !self.get(id).is_some_and(|instance| instance.is_known(now)))
            .cloned()
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Ec2Error::InstanceNotFound(missing))
        }
    }

    fn check_each(
        &self,
        ids: &[String],
        check: impl Fn(&Instance) -> Result<(), Ec2Error>,
    ) -> Result<(), Ec2Error> {
        ids.iter().filter_map(|id| self.get(id)).try_for_each(check)
    }

    fn change(
        &mut self,
        ids: &[String],
        now: Millis,
        check: impl Fn(&Instance) -> Result<(), Ec2Error>,
        carry_out: impl Fn(&mut Instance) -> Effect,
    ) -> Result<Vec<(StateChange, Effect)>, Ec2Error> {
        self.forget(now);
        self.check_exist(ids, now)?;
        self.check_each(ids, check)?;
        let mut changes = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(instance) = self.get_mut(id) else {
                continue;
            };
            let previous = instance.state;
            let effect = carry_out(instance);
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

    /// Whoever is to be forgotten is unknown already: this only frees the memory.
    fn forget(&mut self, now: Millis) {
        if now < self.forget_next {
            return;
        }
        self.forget_next = now + FORGET_EVERY;
        let forgotten: Vec<u64> = self
            .by_sequence
            .iter()
            .filter(|(_, instance)| instance.is_forgotten(now))
            .map(|(at, _)| *at)
            .collect();
        for sequence in forgotten {
            if let Some(instance) = self.by_sequence.remove(&sequence) {
                self.sequence_of.remove(&instance.instance_id);
            }
        }
        // AWS remembers a token for at least a day after the instances are gone.
        self.launches
            .retain(|_, launch| launch.at + 48 * 60 * 60 * 1000 > now);
    }
}
