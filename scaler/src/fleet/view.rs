//! The fleet as it is known at present: EC2's last list, the orders since, the workers' reports, and the demand.

mod expectations;
mod orders;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use expectations::Expectations;
use platform::fleet::{FleetInstance, PowerState};
use proto::names::WORKER_INSTANCE;
use tokio::sync::watch;

use super::boots::Boots;
use super::ledger::Ledger;
use super::worker_registry::{WorkerRegistry, WorkerStatus};
use crate::plan::{
    CallBackoff, Counters, FrontDemand, Instance, InstanceId, InstanceState, Learned, LeftOut,
    Observation, Timestamp, Timestamped,
};

/// How long stopped instances are left out after EC2 refused to start them, so that others are started or launched.
const UNSTARTABLE_REMEMBERED: Duration = Duration::from_secs(120);

/// Joins all sources into one [`Observation`].
#[derive(Debug)]
pub struct FleetView {
    demand: watch::Receiver<Option<Timestamped<FrontDemand>>>,
    registry: WorkerRegistry,
    pub queue: Option<Timestamped<Counters>>,
    /// The fingerprint of a launch today. While it is `None`, no instance counts as outdated.
    pub launch: Option<String>,
    /// What a former scaler measured.
    pub learned: Learned,
    /// Since when this scaler leads; `None` while it stands by.
    pub leads_since: Option<Timestamp>,
    /// Whether outdated instances are treated as all others: they cannot be terminated.
    keeps_outdated: bool,
    described: Vec<FleetInstance>,
    /// The position of each instance in `described`.
    index: HashMap<InstanceId, usize>,
    described_at: Option<Timestamp>,
    /// How long EC2's last list took.
    pub described_in: Duration,
    expectations: Expectations,
    /// When EC2 was last asked and listed an instance that was not known.
    pub newcomers_at: Option<Timestamp>,
    /// How many instances the launches in flight have asked for.
    pub launching: u32,
    /// The state each instance was last seen in, and since when.
    history: HashMap<InstanceId, (InstanceState, Timestamp)>,
    running_since: HashMap<InstanceId, Timestamp>,
    /// When each instance was last started, by EC2's clock and by the scaler's.
    started: HashMap<InstanceId, (SystemTime, Timestamp)>,
    boots: Boots,
    ledger: Ledger,
    /// Stopped instances that EC2 refused to start, its error code, and until when that is believed.
    unstartable: HashMap<InstanceId, (String, Timestamp)>,
}

impl FleetView {
    /// Creates a view without instances. `ledger` adds up their costs.
    #[must_use]
    pub fn new(
        demand: watch::Receiver<Option<Timestamped<FrontDemand>>>,
        registry: WorkerRegistry,
        ledger: Ledger,
    ) -> Self {
        Self {
            demand,
            registry,
            queue: None,
            launch: None,
            learned: Learned::default(),
            leads_since: None,
            keeps_outdated: false,
            described: Vec::new(),
            index: HashMap::new(),
            described_at: None,
            described_in: Duration::ZERO,
            expectations: Expectations::default(),
            newcomers_at: None,
            launching: 0,
            history: HashMap::new(),
            running_since: HashMap::new(),
            started: HashMap::new(),
            boots: Boots::default(),
            ledger,
            unstartable: HashMap::new(),
        }
    }

    /// Takes over EC2's reply to a DescribeInstances call that was sent at `asked_at`.
    pub fn described(&mut self, instances: Vec<FleetInstance>, asked_at: Timestamp) {
        let instances: Vec<_> = instances.into_iter().filter(is_worker).collect();
        if instances.iter().any(|found| self.is_newcomer(found)) {
            self.newcomers_at = Some(asked_at);
        }
        let ids = instances.iter().map(|found| found.id.as_str().into());
        self.index = ids.zip(0..).collect();
        self.described = instances;
        self.described_at = Some(asked_at);
        let (described, index) = (&self.described, &self.index);
        self.expectations.compare(
            |id| index.get(id).map(|position| &described[*position]),
            asked_at,
            |id| self.registry.get(id).and_then(|worker| worker.heard),
        );
        self.note_starts(asked_at);
        for instance in &self.described {
            let id = InstanceId::from(instance.id.as_str());
            if instance.state == PowerState::Running {
                self.running_since.entry(id).or_insert(asked_at);
            } else {
                self.running_since.remove(&id);
                if instance.state == PowerState::Stopped && !self.expectations.is_starting(&id) {
                    self.registry.forget(&id);
                }
            }
        }
        self.running_since
            .retain(|id, _| self.index.contains_key(id));
        let fleet = self.index.keys().chain(self.expectations.starting());
        self.registry.set_fleet(fleet.cloned().collect());
    }

    /// Records when EC2 started the instances. The two clocks may disagree, so the age counts. EC2 gives it to the second,
    /// so it is taken once for each start.
    fn note_starts(&mut self, asked_at: Timestamp) {
        for found in &self.described {
            let id = InstanceId::from(found.id.as_str());
            let (Some(launched_at), Some(age)) = (found.launched_at, found.age) else {
                continue;
            };
            let known = self.started.get(&id).map(|(known, _)| *known);
            if known == Some(launched_at) {
                continue;
            }
            if known.is_some() {
                self.running_since.remove(&id);
                // An operator or another scaler started it after this one stopped it.
                let worker = self.registry.get(&id).and_then(|worker| worker.state);
                if worker == Some(InstanceState::Stopping) {
                    self.registry.forget(&id);
                }
            }
            self.started.insert(id, (launched_at, asked_at.before(age)));
        }
        self.started.retain(|id, _| self.index.contains_key(id));
    }

    /// Returns launched instances that EC2 still does not list. Ask EC2 whether they were terminated.
    #[must_use]
    pub fn overdue(&self, now: Timestamp) -> Vec<InstanceId> {
        self.expectations
            .overdue(|id| self.index.contains_key(id), now)
    }

    #[must_use]
    pub fn is_spot(&self, id: &InstanceId) -> bool {
        let position = self.index.get(id);
        position.is_some_and(|position| self.described[*position].spot)
    }

    /// Returns whether EC2 has not listed the instances yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.described_at.is_none()
    }

    fn is_outdated(&self, found: &FleetInstance) -> bool {
        !self.keeps_outdated && self.launch.is_some() && found.launch != self.launch
    }

    /// Returns how long boots took whose worker became ready since the last call.
    pub fn take_boot_times(&mut self) -> Vec<Duration> {
        self.boots.take_durations()
    }

    /// Returns everything that is known as of `now`. `call_backoff` goes into the observation unchanged.
    pub fn observe(&mut self, now: Timestamp, call_backoff: CallBackoff) -> Observation {
        let is_listed = |id: &InstanceId| self.index.contains_key(id);
        let asked_at = self.described_at.unwrap_or_default();
        for id in self.expectations.expire(is_listed, asked_at) {
            self.registry.unmark_stopping(&id);
        }
        self.unstartable.retain(|_, (_, until)| now < *until);
        let mut instances: Vec<_> = self
            .described
            .iter()
            .filter_map(|found| self.instance(found, now))
            .collect();
        let unlisted = self
            .expectations
            .starting()
            .filter(|id| !self.index.contains_key(*id));
        instances.extend(unlisted.map(|id| self.unlisted(id, now)));
        instances.sort_by(|a, b| {
            (a.number.is_none(), a.number, &a.id).cmp(&(b.number.is_none(), b.number, &b.id))
        });
        self.history = instances
            .iter()
            .map(|i| (i.id.clone(), (i.state, i.since)))
            .collect();
        // Those that the observation leaves out exist as well.
        let stopped: Vec<_> = self.stopped().collect();
        self.note_boots(&instances, &stopped, now);
        let billing = self.ledger.note(&instances, &stopped, now);
        Observation {
            now,
            wall_clock: None,
            front: *self.demand.borrow(),
            queue: self.queue,
            instances,
            left_out: stopped.iter().filter_map(|id| self.left_out(id)).collect(),
            launching: self.launching,
            described_at: self.described_at,
            described_in: self.described_in,
            leads_since: self.leads_since,
            failed_boots: self.boots.failed(),
            call_backoff,
            billing,
            learned: self.learned,
        }
    }

    fn instance(&self, found: &FleetInstance, now: Timestamp) -> Option<Instance> {
        let id = InstanceId::from(found.id.as_str());
        let name = self.expectations.name(&id).unwrap_or(&found.name);
        let worker = self.registry.get(&id);
        let power = if self.expectations.is_starting(&id) {
            PowerState::Pending
        } else if self.expectations.is_stopping(&id) {
            PowerState::Stopping
        } else {
            found.state
        };
        let (state, reported) = match power {
            PowerState::ShuttingDown => return None,
            PowerState::Stopped if self.why_left_out(&id).is_some() => return None,
            PowerState::Stopped => (InstanceState::Stopped, None),
            PowerState::Stopping => (InstanceState::Stopping, None),
            PowerState::Pending => pending(worker),
            PowerState::Running => running(worker),
        };
        let started_at = self
            .expectations
            .starting_since(&id)
            .or_else(|| self.started.get(&id).map(|(_, at)| *at));
        Some(Instance {
            number: number(name),
            state,
            since: reported.unwrap_or_else(|| self.since(&id, state, now)),
            heard: worker.and_then(|worker| worker.heard),
            started_at,
            running_since: self.running_since.get(&id).copied(),
            listed: true,
            leaving: worker.is_some_and(|worker| worker.leaving),
            outdated: self.is_outdated(found),
            id,
        })
    }

    /// Returns a stopped instance that is left out of the observed ones.
    fn left_out(&self, id: &InstanceId) -> Option<LeftOut> {
        let (reason, until) = self.why_left_out(id)?;
        if !self.expectations.is_settled(id) {
            return None;
        }
        let found = &self.described[*self.index.get(id)?];
        let name = self.expectations.name(id).unwrap_or(&found.name);
        Some(LeftOut {
            id: id.clone(),
            number: number(name),
            reason,
            until,
        })
    }

    /// Returns why an instance is left out while it is stopped, and until when; `None` when it is not.
    fn why_left_out(&self, id: &InstanceId) -> Option<(String, Option<Timestamp>)> {
        if let Some((code, until)) = self.unstartable.get(id) {
            return Some((format!("EC2 refuses to start it: {code}"), Some(*until)));
        }
        let is_broken = self.boots.is_broken(id);
        is_broken.then(|| ("it failed to boot too often".to_owned(), None))
    }

    fn unlisted(&self, id: &InstanceId, now: Timestamp) -> Instance {
        let worker = self.registry.get(id);
        let (state, reported) = pending(worker);
        Instance {
            id: id.clone(),
            number: None,
            state,
            since: reported.unwrap_or_else(|| self.since(id, state, now)),
            heard: worker.and_then(|worker| worker.heard),
            started_at: self.expectations.starting_since(id),
            running_since: None,
            listed: false,
            leaving: worker.is_some_and(|worker| worker.leaving),
            outdated: false,
        }
    }

    fn since(&self, id: &InstanceId, state: InstanceState, now: Timestamp) -> Timestamp {
        match self.history.get(id) {
            Some((before, since)) if *before == state => *since,
            _ => now,
        }
    }

    fn note_boots(&mut self, instances: &[Instance], stopped: &[InstanceId], now: Timestamp) {
        for instance in instances {
            match instance.state {
                InstanceState::Idle | InstanceState::Busy => self.boots.ready(&instance.id, now),
                InstanceState::Stopping if self.expectations.is_stopping(&instance.id) => {
                    self.boots.forget(&instance.id);
                }
                // An interruption by EC2 says nothing about other instances.
                InstanceState::Draining | InstanceState::Cordoned if instance.leaving => {
                    self.boots.forget(&instance.id);
                }
                InstanceState::Stopped => self.boots.stopped(&instance.id, now),
                _ => {}
            }
        }
        let observed = instances.iter().map(|instance| &instance.id);
        let existing = observed.chain(stopped).collect();
        self.boots.retain(&existing, now);
    }

    /// The instances that EC2 lists as stopped.
    fn stopped(&self) -> impl Iterator<Item = InstanceId> {
        self.described
            .iter()
            .filter(|found| found.state == PowerState::Stopped)
            .map(|found| InstanceId::from(found.id.as_str()))
    }

    fn is_newcomer(&self, found: &FleetInstance) -> bool {
        let id = InstanceId::from(found.id.as_str());
        !self.index.contains_key(&id) && !self.expectations.is_starting(&id)
    }
}

/// The state of an instance that EC2 does not list as running yet. Its worker may report more, but EC2 would refuse to
/// stop the instance.
pub(crate) fn pending(worker: Option<WorkerStatus>) -> (InstanceState, Option<Timestamp>) {
    match worker.and_then(|worker| Some((worker.state?, worker.since))) {
        None => (InstanceState::Pending, None),
        Some((InstanceState::Cordoned, since)) => (InstanceState::Draining, Some(since)),
        Some((state, since)) => (state, Some(since)),
    }
}

/// The state of an instance that EC2 lists as running.
pub(crate) fn running(worker: Option<WorkerStatus>) -> (InstanceState, Option<Timestamp>) {
    match worker.and_then(|worker| Some((worker.state?, worker.since))) {
        None => (InstanceState::Booting, None),
        Some((state, since)) => (state, Some(since)),
    }
}

/// The pattern that EC2 filters by also matches names such as `app-tier-instances`.
fn is_worker(found: &FleetInstance) -> bool {
    found.name == WORKER_INSTANCE || number(&found.name).is_some()
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix(WORKER_INSTANCE)?
        .strip_prefix('-')?
        .parse()
        .ok()
}
