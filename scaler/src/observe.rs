//! What is known at present: EC2's last answer, what was ordered since, what the workers report, and the demand.

mod boots;
mod expect;
pub mod front;
pub mod ledger;
mod ordered;
pub mod pace;
pub mod shared;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use boots::Boots;
use expect::Expectations;
use ledger::Ledger;
use platform::fleet::{FleetInstance, PowerState};
use proto::names::WORKER_INSTANCE;
use tokio::sync::watch;

use crate::attend::{Attendance, Attending};
use crate::plan::{
    CallBackoff, Counters, FrontDemand, Instance, InstanceId, Observation, Seen, State, Timestamp,
};

/// Joins all sources into one [`Observation`].
#[derive(Debug)]
pub struct World {
    front: watch::Receiver<Option<Seen<FrontDemand>>>,
    attendance: Attendance,
    pub queue: Option<Seen<Counters>>,
    described: Vec<FleetInstance>,
    /// Where each of them is in `described`.
    places: HashMap<InstanceId, usize>,
    described_at: Option<Timestamp>,
    expectations: Expectations,
    /// When EC2 was last asked and listed an instance that nobody knew of.
    pub newcomers_at: Option<Timestamp>,
    /// How many instances the launches under way have asked for.
    pub launching: u32,
    /// The state each instance was last seen in, and since when.
    history: HashMap<InstanceId, (State, Timestamp)>,
    running_since: HashMap<InstanceId, Timestamp>,
    /// When each instance was last started, by EC2's clock and by the scaler's.
    started: HashMap<InstanceId, (SystemTime, Timestamp)>,
    boots: Boots,
    ledger: Ledger,
    /// Stopped instances that EC2 does not start, for lack of capacity or for their own sake, and until when that is
    /// believed.
    unstartable: HashMap<InstanceId, Timestamp>,
}

/// For how long stopped instances are left out after EC2 would not start them, so that others are started or launched.
const LACK_REMEMBERED: Duration = Duration::from_secs(120);

impl World {
    #[must_use]
    pub fn new(front: watch::Receiver<Option<Seen<FrontDemand>>>, attendance: Attendance) -> Self {
        Self {
            front,
            attendance,
            queue: None,
            described: Vec::new(),
            places: HashMap::new(),
            described_at: None,
            expectations: Expectations::default(),
            newcomers_at: None,
            launching: 0,
            history: HashMap::new(),
            running_since: HashMap::new(),
            started: HashMap::new(),
            boots: Boots::default(),
            ledger: Ledger::default(),
            unstartable: HashMap::new(),
        }
    }

    /// The same world, whose costs are added up in `ledger`.
    #[must_use]
    pub fn with(mut self, ledger: Ledger) -> Self {
        self.ledger = ledger;
        self
    }

    /// Takes EC2's answer to a question that was asked at `asked_at`.
    pub fn described(&mut self, instances: Vec<FleetInstance>, asked_at: Timestamp) {
        let instances: Vec<_> = instances.into_iter().filter(is_worker).collect();
        if instances.iter().any(|found| self.is_newcomer(found)) {
            self.newcomers_at = Some(asked_at);
        }
        let ids = instances.iter().map(|found| found.id.as_str().into());
        self.places = ids.zip(0..).collect();
        self.described = instances;
        self.described_at = Some(asked_at);
        let (described, places) = (&self.described, &self.places);
        self.expectations.compare(
            |id| places.get(id).map(|place| &described[*place]),
            asked_at,
            |id| {
                self.attendance
                    .get(id)
                    .and_then(|attending| attending.heard)
            },
        );
        for instance in &self.described {
            let id = InstanceId::from(instance.id.as_str());
            if instance.state == PowerState::Running {
                self.running_since.entry(id).or_insert(asked_at);
            } else {
                self.running_since.remove(&id);
                if instance.state == PowerState::Stopped && !self.expectations.is_starting(&id) {
                    self.attendance.forget(&id);
                }
            }
        }
        self.running_since
            .retain(|id, _| self.places.contains_key(id));
        self.note_starts(asked_at);
        let fleet = self.places.keys().chain(self.expectations.starting());
        self.attendance.fleet_is(fleet.cloned().collect());
    }

    /// Takes over when EC2 started the instances. The two clocks need not agree, so it is their age that counts, which is
    /// exact to a second and therefore taken once.
    fn note_starts(&mut self, asked_at: Timestamp) {
        for found in &self.described {
            let id = InstanceId::from(found.id.as_str());
            let (Some(launched_at), Some(age)) = (found.launched_at, found.age) else {
                continue;
            };
            let known = self.started.get(&id);
            if known.is_none_or(|(known, _)| *known != launched_at) {
                self.started.insert(id, (launched_at, asked_at.before(age)));
            }
        }
        self.started.retain(|id, _| self.places.contains_key(id));
    }

    /// Instances that were launched a while ago and are not listed: EC2 is to be asked what became of them.
    #[must_use]
    pub fn overdue(&self, now: Timestamp) -> Vec<InstanceId> {
        self.expectations
            .overdue(|id| self.places.contains_key(id), now)
    }

    /// Whether it is a spot instance.
    #[must_use]
    pub fn is_spot(&self, id: &InstanceId) -> bool {
        self.found(id).is_some_and(|found| found.spot)
    }

    /// What EC2 last said about it.
    fn found(&self, id: &InstanceId) -> Option<&FleetInstance> {
        self.places.get(id).map(|place| &self.described[*place])
    }

    /// Everything that is known, as of `now`.
    pub fn observe(&mut self, now: Timestamp, held: CallBackoff) -> Observation {
        let is_listed = |id: &InstanceId| self.places.contains_key(id);
        for id in self.expectations.expire(is_listed, now) {
            self.attendance.pardon(&id);
        }
        self.unstartable.retain(|_, until| now < *until);
        let mut instances: Vec<_> = self
            .described
            .iter()
            .filter_map(|found| self.instance(found, now))
            .collect();
        let unlisted = self
            .expectations
            .starting()
            .filter(|id| !self.places.contains_key(*id));
        instances.extend(unlisted.map(|id| self.unlisted(id, now)));
        instances.sort_by(|a, b| {
            (a.number.is_none(), a.number, &a.id).cmp(&(b.number.is_none(), b.number, &b.id))
        });
        self.history = instances
            .iter()
            .map(|i| (i.id.clone(), (i.state, i.since)))
            .collect();
        self.note_boots(&instances, now);
        let billing = self.ledger.note(&instances, now);
        Observation {
            now,
            front: *self.front.borrow(),
            queue: self.queue,
            instances,
            launching: self.launching,
            described_at: self.described_at,
            failed_boots: self.boots.failed(),
            call_backoff: held,
            billing,
        }
    }

    fn instance(&self, found: &FleetInstance, now: Timestamp) -> Option<Instance> {
        let id = InstanceId::from(found.id.as_str());
        let name = self.expectations.name(&id).unwrap_or(&found.name);
        let attending = self.attendance.get(&id);
        let power = if self.expectations.is_starting(&id) {
            PowerState::Pending
        } else if self.expectations.is_stopping(&id) {
            PowerState::Stopping
        } else {
            found.state
        };
        let (state, reported) = match power {
            // It will be gone for good; nothing can be done with it.
            PowerState::ShuttingDown => return None,
            PowerState::Stopped if self.unstartable.contains_key(&id) => return None,
            PowerState::Stopped if self.boots.is_hopeless(&id) => return None,
            PowerState::Stopped => (State::Stopped, None),
            PowerState::Stopping => (State::Stopping, None),
            PowerState::Pending => pending(attending),
            PowerState::Running => running(attending),
        };
        Some(Instance {
            number: number(name),
            state,
            since: reported.unwrap_or_else(|| self.since(&id, state, now)),
            heard: attending.and_then(|attending| attending.heard),
            started_at: self
                .expectations
                .starting_since(&id)
                .or_else(|| self.started.get(&id).map(|(_, at)| *at)),
            running_since: self.running_since.get(&id).copied(),
            listed: true,
            leaving: attending.is_some_and(|attending| attending.leaving),
            id,
        })
    }

    fn unlisted(&self, id: &InstanceId, now: Timestamp) -> Instance {
        let attending = self.attendance.get(id);
        let (state, reported) = pending(attending);
        Instance {
            id: id.clone(),
            number: None,
            state,
            since: reported.unwrap_or_else(|| self.since(id, state, now)),
            heard: attending.and_then(|attending| attending.heard),
            started_at: self.expectations.starting_since(id),
            running_since: None,
            listed: false,
            leaving: attending.is_some_and(|attending| attending.leaving),
        }
    }

    fn since(&self, id: &InstanceId, state: State, now: Timestamp) -> Timestamp {
        match self.history.get(id) {
            Some((before, since)) if *before == state => *since,
            _ => now,
        }
    }

    fn note_boots(&mut self, instances: &[Instance], now: Timestamp) {
        for instance in instances {
            match instance.state {
                State::Idle | State::Busy => self.boots.ready(&instance.id, now),
                State::Stopping if self.expectations.is_stopping(&instance.id) => {
                    self.boots.forget(&instance.id);
                }
                // If EC2 ends it, that says nothing about other instances.
                State::Draining | State::Cordoned if instance.leaving => {
                    self.boots.forget(&instance.id);
                }
                State::Stopped => self.boots.stopped(&instance.id, now),
                _ => {}
            }
        }
        // Those of the pool that are left out exist as well.
        let described: Vec<_> = self
            .described
            .iter()
            .filter(|found| found.state == PowerState::Stopped)
            .map(|found| InstanceId::from(found.id.as_str()))
            .collect();
        let observed = instances.iter().map(|instance| &instance.id);
        let existing = observed.chain(&described).collect();
        self.boots.retain(&existing, now);
    }

    fn is_newcomer(&self, found: &FleetInstance) -> bool {
        let id = InstanceId::from(found.id.as_str());
        !self.places.contains_key(&id) && !self.expectations.is_starting(&id)
    }
}

/// The state of an instance that EC2 does not describe as running yet: its worker may know better, but EC2 would refuse
/// to stop it.
fn pending(attending: Option<Attending>) -> (State, Option<Timestamp>) {
    match attending.and_then(|attending| Some((attending.state?, attending.since))) {
        None => (State::Pending, None),
        Some((State::Cordoned, since)) => (State::Draining, Some(since)),
        Some((state, since)) => (state, Some(since)),
    }
}

fn running(attending: Option<Attending>) -> (State, Option<Timestamp>) {
    match attending.and_then(|attending| Some((attending.state?, attending.since))) {
        None => (State::Booting, None),
        Some((state, since)) => (state, Some(since)),
    }
}

/// The pattern that EC2 filters by also lets `app-tier-instances` through.
fn is_worker(found: &FleetInstance) -> bool {
    found.name == WORKER_INSTANCE || number(&found.name).is_some()
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix(WORKER_INSTANCE)?
        .strip_prefix('-')?
        .parse()
        .ok()
}
