//! The simulated cloud with the real planner and the real registry in front of it.

use std::time::Duration;

use proto::v1::worker_order::Order;

use super::link::Link;
use crate::fleet::view::{pending, running};
use crate::fleet::worker_registry::Workers;
use crate::plan::{InstanceId, InstanceState, Memory, Observation, Plan, Policy, Timestamp, plan};
use crate::simulate::{Cloud, Phase, Power, Scenario};

pub const STEP: Duration = Duration::from_millis(20);
const POLL_EVERY: Duration = Duration::from_millis(100);
const LONGEST_BLINDNESS: Duration = Duration::from_secs(59);
/// The longest that a worker waits for a message, in milliseconds. It reads its orders afterwards.
const RECEIVE_WAIT: u64 = 1_000;

/// Plans at every step of time. Checks each plan against the truth: see [`Self::check`].
#[derive(Debug)]
pub struct ScaledCloud {
    pub cloud: Cloud,
    /// The workers' streams, in the order of the machines.
    links: Vec<Link>,
    workers: Workers,
    memory: Memory,
    polled_at: Timestamp,
    /// How often workers were cordoned after some were added, or added after some were cordoned.
    pub reversals: u32,
    last_added: Option<bool>,
    /// Since when no report reaches the scaler.
    pub(super) cut_off_since: Option<Timestamp>,
    /// The last period of that: from when until when.
    pub(super) last_cut_off: Option<(Timestamp, Timestamp)>,
    /// Since when the queue's counters are zero in spite of messages. AWS only promises that they are right a minute after
    /// the last change.
    pub(super) blind_since: Option<Timestamp>,
    /// Since when the queue holds messages.
    pub(super) work_since: Option<Timestamp>,
    random: u64,
}

/// One plan, and what it was made from.
#[derive(Debug)]
pub struct Step {
    pub observation: Observation,
    pub plan: Plan,
    pub before: Memory,
}

impl ScaledCloud {
    pub fn new(policy: Policy, seed: u64) -> Self {
        let cloud = Cloud::new(Scenario {
            seed,
            policy,
            service: (0.4, 0.5),
            boot: (2.0, 0.4),
            stop: (1.5, 0.5),
            launch: Duration::from_millis(100),
            describe_latency: Duration::ZERO,
            count_latency: Duration::ZERO,
            count_lag: Duration::ZERO,
            ..Scenario::default()
        });
        Self {
            cloud,
            links: Vec::new(),
            workers: Workers::default(),
            memory: Memory::default(),
            polled_at: Timestamp::default(),
            reversals: 0,
            last_added: None,
            cut_off_since: None,
            last_cut_off: None,
            blind_since: None,
            work_since: None,
            random: seed | 1,
        }
    }

    pub fn arrive(&mut self, requests: u64) {
        (0..requests).for_each(|_| self.cloud.accept());
    }

    /// Ends all faults of what the scaler observes.
    pub fn recover(&mut self) {
        self.cloud.faults = Default::default();
        self.cut_off(false);
        self.blind_since = None;
    }

    /// Cuts all workers off from the scaler, or reconnects them.
    pub fn cut_off(&mut self, is_cut_off: bool) {
        let now = self.cloud.now();
        if is_cut_off {
            self.cut_off_since.get_or_insert(now);
        } else if let Some(since) = self.cut_off_since.take() {
            self.last_cut_off = Some((since, now));
        }
    }

    pub fn blind_counters(&mut self, are_blind: bool) {
        let now = self.cloud.now();
        self.blind_since = are_blind.then(|| self.blind_since.unwrap_or(now));
    }

    pub fn break_stream(&mut self, pick: usize) {
        if !self.links.is_empty() {
            let pick = pick % self.links.len();
            self.links[pick].break_stream();
        }
    }

    pub fn restart_scaler(&mut self) {
        (self.workers, self.memory) = (Workers::default(), Memory::default());
        self.cloud.forget_observations();
        for link in &mut self.links {
            link.break_stream();
            link.running_since = None;
        }
    }

    /// Returns whether the silence of workers that were cut off may still have effects.
    pub fn was_just_cut_off(&self) -> bool {
        let silence = self.cloud.scenario.policy.timeouts.silence_deadline;
        let is_recent = |(_, end): (Timestamp, Timestamp)| self.cloud.now().since(end) <= silence;
        self.last_cut_off.is_some_and(is_recent)
    }

    /// Returns whether all requests are answered, the number of workers is right, and no fault lasts.
    pub fn is_settled(&self, workers: u32) -> bool {
        self.cloud.unanswered() == 0
            && self.cloud.undone_frames() == 0
            && self.cloud.up() == workers
            // A launch from before the faults ended may be in progress.
            && self.cloud.launching() == 0
            && !self.cloud.machines().iter().any(|it| {
                let is_spent = it.outdated && matches!(it.phase, Phase::Stopping | Phase::Stopped);
                it.phase == Phase::Dead || it.leaving || it.is_stuck || is_spent
            })
    }

    /// Returns how many instances exist.
    pub fn instances(&self) -> usize {
        let machines = self.cloud.machines().iter();
        machines.filter(|it| it.phase != Phase::Terminated).count()
    }

    /// Lets one step of time pass, then plans, checks the plan against the truth, and executes it.
    pub fn step(&mut self) -> Step {
        self.cloud.advance(STEP.as_micros() as u64);
        let now = self.cloud.now();
        let has_work = self.cloud.messages() > 0;
        self.work_since = has_work.then(|| self.work_since.unwrap_or(now));
        let is_blind = |since: &Timestamp| now.since(*since) < LONGEST_BLINDNESS;
        self.blind_since = self.blind_since.filter(is_blind);
        self.cloud.faults.counters_are_blind = self.blind_since.is_some();
        for index in self.links.len()..self.cloud.machines().len() {
            let id = self.cloud.id(index).clone();
            self.workers.admit([id.clone()]);
            self.links.push(Link::new(id));
        }
        (0..self.links.len()).for_each(|index| self.step_worker(index));
        if now.since(self.polled_at) >= POLL_EVERY {
            self.poll();
        }
        let observation = self.observe();
        let before = self.memory.clone();
        let policy = &self.cloud.scenario.policy;
        let (decided, memory) = plan(policy, &observation, before.clone());
        self.memory = memory;
        self.check(&observation, &decided);
        self.execute(&decided);
        // Where the plan changes nothing, checking now and then is enough.
        if decided.changes_something() || now.elapsed().as_millis().is_multiple_of(300) {
            let observation = self.observe();
            let policy = &self.cloud.scenario.policy;
            let (again, _) = plan(policy, &observation, self.memory.clone());
            assert!(
                !again.changes_something(),
                "planning again changes something: {decided:?} {again:?}"
            );
        }
        Step {
            observation,
            plan: decided,
            before,
        }
    }

    fn step_worker(&mut self, index: usize) {
        let now = self.cloud.now();
        let (reads_again_at, arrives) = (self.after(20, RECEIVE_WAIT), self.after(0, 60));
        let machine = &self.cloud.machines()[index];
        let link = &mut self.links[index];
        if !machine.has_worker() {
            // A dead worker's stream stays open.
            if machine.phase != Phase::Dead {
                link.break_stream();
            }
            if !machine.is_up() {
                link.running_since = None;
            }
            if machine.phase == Phase::Stopped {
                self.workers.forget(&link.id);
            }
            return;
        }
        if self.cut_off_since.is_none() {
            link.connect(&mut self.workers, now);
        }
        if let Some(order) = link.read_order(machine, now, reads_again_at) {
            let is_cordon = matches!(order, Order::Cordon(_));
            self.cloud.obey(index, is_cordon);
        }
        link.report(&self.cloud.machines()[index], now, arrives);
        if self.cut_off_since.is_some() {
            link.break_stream();
        }
        link.deliver(&mut self.workers, now);
    }

    fn poll(&mut self) {
        self.polled_at = self.cloud.now();
        self.cloud.poll();
        if !self.cloud.faults.ec2_is_lost {
            for (index, link) in self.links.iter_mut().enumerate() {
                let is_running = self.cloud.power(index) == Power::Running;
                let since = link.running_since.unwrap_or(self.polled_at);
                link.running_since = is_running.then_some(since);
            }
            let all = self.links.iter().map(|it| &it.id);
            let fleet = all.filter(|id| self.cloud.machine(id).phase != Phase::Terminated);
            self.workers
                .set_fleet(fleet.cloned().collect(), self.polled_at);
        }
    }

    /// Returns what EC2 and the queue reported, with the workers as the registry knows them.
    fn observe(&mut self) -> Observation {
        let now = self.cloud.now();
        let mut observation = self.cloud.observe().clone();
        for (index, instance) in observation.instances.iter_mut().enumerate() {
            let worker = self.workers.get(&instance.id);
            let power = self.cloud.power(index);
            let running_since = self.links[index].running_since;
            instance.running_since = running_since.filter(|_| power == Power::Running);
            let (state, reported) = match power {
                Power::Stopped => (InstanceState::Stopped, None),
                Power::Stopping => (InstanceState::Stopping, None),
                Power::Pending => pending(worker),
                Power::Running => running(worker),
            };
            instance.state = state;
            instance.since = reported.unwrap_or(match (state, worker) {
                (InstanceState::Booting, _) => now,
                // Uncordoned, it is pending anew.
                (InstanceState::Pending, Some(worker)) => worker.since.max(instance.since),
                _ => instance.since,
            });
            instance.heard = worker.and_then(|it| it.heard);
        }
        let phase = |id: &InstanceId| self.cloud.machine(id).phase;
        let instances = &mut observation.instances;
        instances.retain(|it| phase(&it.id) != Phase::Terminated);
        observation
    }

    fn execute(&mut self, plan: &Plan) {
        let now = self.cloud.now();
        if plan.adds() || !plan.cordon.is_empty() {
            let before = self.last_added.replace(plan.adds());
            self.reversals += u32::from(before.is_some_and(|added| added != plan.adds()));
        }
        for id in &plan.cordon {
            self.workers.cordon(id, now);
        }
        for id in &plan.uncordon {
            self.workers.uncordon(id, now);
        }
        if !plan.start.is_empty() && self.cloud.start(&plan.start) {
            plan.start.iter().for_each(|id| self.workers.forget(id));
        }
        if plan.launch > 0 {
            self.cloud.launch(plan.launch);
        }
        for stop in &plan.stop {
            let is_right = self.workers.mark_stopping(&stop.id, stop.cause, now, now);
            assert!(is_right, "{stop:?}");
            if stop.cause.terminates() {
                self.cloud.terminate(&stop.id);
            } else {
                self.cloud.stop(&stop.id);
            }
        }
        for (id, number) in &plan.rename {
            self.cloud.rename(id, *number);
        }
    }

    /// A time between `least` and `most` milliseconds from now.
    fn after(&mut self, least: u64, most: u64) -> Timestamp {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let milliseconds = least + self.random % (most - least + 1);
        self.cloud.now().after(Duration::from_millis(milliseconds))
    }
}
