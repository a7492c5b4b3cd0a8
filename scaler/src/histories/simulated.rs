//! A small model of EC2, the queue and the workers, in plain code, that plans are carried out on.

mod carry_out;
mod see;
mod worker;

use std::time::Duration;

use tokio::sync::watch;
pub use worker::{Phase, Worker};

use crate::attend::Roster;
use crate::plan::{
    Billing, Counters, FrontDemand, Held, Instance, InstanceId, Memory, Moment, Observation, Plan,
    Policy, Seen, State, Stop, StopCause, plan,
};

pub const STEP: Duration = Duration::from_millis(20);
const REPORT_EVERY: Duration = Duration::from_secs(1);
const RECEIVE_WAIT: u64 = 1_000;
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(100);
const LONGEST_BLINDNESS: Duration = Duration::from_secs(59);

/// Everything, with the truth that the scaler only sees late.
#[derive(Debug)]
pub struct Cloud {
    pub policy: Policy,
    pub now: Moment,
    pub machines: Vec<Machine>,
    pub unanswered: u64,
    accepted_total: u64,
    visible: u64,
    hidden: Vec<Moment>,
    roster: Roster,
    memory: Memory,
    front: Option<Seen<FrontDemand>>,
    queue: Option<Seen<Counters>>,
    /// What is known of the machines: by EC2's last answer, and by what was ordered since.
    described: Vec<(InstanceId, Power, Option<u32>)>,
    described_at: Option<Moment>,
    /// How many instances were launched.
    launched: usize,
    /// Until when stopped instances are paid for.
    paid_off: Vec<Moment>,
    /// How often workers were withdrawn after some were added, or the other way round.
    pub reversals: u32,
    last_added: Option<bool>,
    pub front_is_lost: bool,
    pub queue_is_lost: bool,
    pub ec2_is_lost: bool,
    /// Since when no report gets to the scaler, which is up.
    pub cut_off_since: Option<Moment>,
    /// The last time that they were: from when until when.
    last_cut_off: Option<(Moment, Moment)>,
    /// Since when the queue's counters are zero, whatever it holds. AWS promises no more than that they are right a minute
    /// after the last change.
    blind_since: Option<Moment>,
    /// Since when messages wait or are in flight.
    work_since: Option<Moment>,
    /// EC2's list lacks what was launched since this was set.
    pub list_lags: bool,
    random: u64,
}

/// What one step was decided from, and what was decided.
#[derive(Debug)]
pub struct Step {
    pub observation: Observation,
    pub plan: Plan,
    pub before: Memory,
}

#[derive(Debug, Clone)]
pub struct Machine {
    id: InstanceId,
    number: Option<u32>,
    pub power: Power,
    changes_at: Moment,
    started_at: Moment,
    /// Whether AWS is going to take it away.
    pub leaving: bool,
    running_since: Option<Moment>,
    listed: bool,
    /// EC2 does not get it to run.
    pub is_stuck: bool,
    /// Since when it is in `power`.
    since: Moment,
    pub worker: Option<Worker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    Stopped,
    Pending,
    Running,
    Stopping,
}

impl Cloud {
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            now: Moment::after_epoch(Duration::from_secs(1)),
            machines: Vec::new(),
            unanswered: 0,
            accepted_total: 0,
            visible: 0,
            hidden: Vec::new(),
            roster: Roster::default(),
            memory: Memory::default(),
            front: None,
            queue: None,
            described: Vec::new(),
            described_at: None,
            launched: 0,
            paid_off: Vec::new(),
            reversals: 0,
            last_added: None,
            front_is_lost: false,
            queue_is_lost: false,
            ec2_is_lost: false,
            cut_off_since: None,
            last_cut_off: None,
            blind_since: None,
            work_since: None,
            list_lags: false,
            random: seed | 1,
        }
    }

    pub fn arrive(&mut self, requests: u64) {
        self.unanswered += requests;
        self.accepted_total += requests;
        self.visible += requests;
    }

    /// Everything can be reached and tells the truth from now on.
    pub fn recover(&mut self) {
        (self.front_is_lost, self.queue_is_lost, self.ec2_is_lost) = (false, false, false);
        self.cut_off(false);
        (self.blind_since, self.list_lags) = (None, false);
    }

    /// Cuts all workers off from the scaler, or joins them again.
    pub fn cut_off(&mut self, is_cut_off: bool) {
        if is_cut_off {
            self.cut_off_since.get_or_insert(self.now);
        } else if let Some(since) = self.cut_off_since.take() {
            self.last_cut_off = Some((since, self.now));
        }
    }

    pub fn blind_counters(&mut self, are_blind: bool) {
        self.blind_since = are_blind.then(|| self.blind_since.unwrap_or(self.now));
    }

    /// EC2 has been told to start them, and does not get on with it.
    pub fn get_stuck(&mut self) {
        let pending = |it: &&mut Machine| it.power == Power::Pending;
        for machine in self.machines.iter_mut().filter(pending) {
            machine.is_stuck = true;
        }
    }

    pub fn restart_scaler(&mut self) {
        (self.roster, self.memory) = (Roster::default(), Memory::default());
        (self.front, self.queue, self.described_at) = (None, None, None);
        for machine in &mut self.machines {
            machine.break_stream();
            machine.running_since = None;
        }
    }

    pub fn up(&self) -> usize {
        let up = |it: &&Machine| matches!(it.power, Power::Pending | Power::Running);
        self.machines.iter().filter(up).count()
    }

    /// Whether silence of workers that were cut off may still show.
    pub fn was_just_cut_off(&self) -> bool {
        let silence = self.policy.patience.silence_deadline;
        let is_recent = |(_, end): (Moment, Moment)| self.now.since(end) <= silence;
        self.last_cut_off.is_some_and(is_recent)
    }

    pub fn has_hung_worker(&self) -> bool {
        self.machines
            .iter()
            .filter_map(|it| it.worker.as_ref())
            .any(|worker| worker.hung)
    }

    /// Lets one step of time pass, then plans, checks the plan against the truth, and carries it out.
    pub fn step(&mut self) -> Step {
        self.now = self.now.after(STEP);
        let now = self.now;
        let back = self.hidden.extract_if(.., |until| *until <= now).count();
        self.visible += back as u64;
        let work = self.visible > 0 || !self.hidden.is_empty();
        self.work_since = work.then(|| self.work_since.unwrap_or(now));
        if self
            .blind_since
            .is_some_and(|since| now.since(since) >= LONGEST_BLINDNESS)
        {
            self.blind_since = None;
        }
        for index in 0..self.machines.len() {
            self.step_machine(index);
        }
        self.look();
        let observation = self.observe();
        let before = self.memory.clone();
        let (decided, memory) = plan(&self.policy, &observation, before.clone());
        self.memory = memory;
        self.check(&observation, &decided);
        self.execute(&decided);
        // Where nothing is done, looking now and then is enough.
        if decided.changes_something() || self.now.elapsed().as_millis().is_multiple_of(300) {
            let (again, _) = plan(&self.policy, &self.observe(), self.memory.clone());
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

    fn step_machine(&mut self, index: usize) {
        let now = self.now;
        let slow = self.after(100, 3_000);
        let machine = &mut self.machines[index];
        match machine.power {
            Power::Pending if now >= machine.changes_at && !machine.is_stuck => {
                (machine.power, machine.since) = (Power::Running, now);
                machine.worker = Some(Worker::new(now, slow));
            }
            Power::Stopping if now >= machine.changes_at => {
                (machine.power, machine.since) = (Power::Stopped, now);
                (machine.worker, machine.running_since) = (None, None);
                machine.leaving = false;
                self.roster.forget(&machine.id.clone());
            }
            Power::Running => self.step_worker(index),
            _ => {}
        }
    }

    fn step_worker(&mut self, index: usize) {
        let now = self.now;
        let (job_ends, poll_ends) = (self.after(20, 800), self.after(20, RECEIVE_WAIT));
        let travel = self.after(0, 60);
        let Machine { id, worker, .. } = &mut self.machines[index];
        let Some(worker) = worker.as_mut().filter(|worker| !worker.hung) else {
            return;
        };
        if worker.session.is_none() && self.cut_off_since.is_none() {
            let (sender, receiver) = watch::channel(None);
            // Refused, it tries again.
            let Some(session) = self.roster.join(id, sender, now) else {
                return;
            };
            (worker.session, worker.orders) = (Some(session), Some(receiver));
            worker.sequence = 0;
            worker.report(id, now, travel);
        }
        let before = (worker.phase, worker.sequence);
        // A worker looks at its orders between receive calls, and all the time while it loads or is parked.
        let looks = match worker.phase {
            Phase::Loading | Phase::Parked => true,
            Phase::Receiving | Phase::Working => now >= worker.until,
        };
        match worker.phase {
            Phase::Receiving if self.visible > 0 => {
                self.visible -= 1;
                self.hidden.push(now.after(VISIBILITY_TIMEOUT));
                (worker.phase, worker.until) = (Phase::Working, job_ends);
            }
            Phase::Working if now >= worker.until => {
                self.hidden.pop();
                self.unanswered = self.unanswered.saturating_sub(1);
                worker.completed += 1;
                worker.next_turn(now, poll_ends);
            }
            _ if looks => worker.next_turn(now, poll_ends),
            _ => {}
        }
        let due = now.since(worker.reported_at) >= REPORT_EVERY;
        if due || before != (worker.phase, worker.sequence) {
            worker.report(id, now, travel);
        }
        if self.cut_off_since.is_some() {
            // What is on its way is lost, and with it the stream.
            worker.session = None;
            worker.reports.clear();
        }
        while worker
            .reports
            .front()
            .is_some_and(|(arrives, _)| *arrives <= now)
        {
            let Some((_, report)) = worker.reports.pop_front() else {
                break;
            };
            let session = worker.session.as_ref().expect("it has just joined");
            if self.roster.report(session, &report, now).is_none() {
                worker.session = None;
                worker.reports.clear();
                break;
            }
        }
    }

    fn billing(&self) -> Billing {
        let unpaid = || self.paid_off.iter().copied().filter(|at| *at > self.now);
        Billing {
            spent: 0.0,
            still_paid: unpaid().count() as u32,
            paid_off_at: unpaid().min(),
        }
    }

    fn machine(&self, id: &InstanceId) -> &Machine {
        self.machines
            .iter()
            .find(|it| it.id == *id)
            .expect("plans name machines that exist")
    }

    fn machine_mut(&mut self, id: &InstanceId) -> &mut Machine {
        self.machines
            .iter_mut()
            .find(|it| it.id == *id)
            .expect("plans name machines that exist")
    }

    /// A moment between `least` and `most` milliseconds from now.
    fn after(&mut self, least: u64, most: u64) -> Moment {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.now.after(Duration::from_millis(
            least + self.random % (most - least + 1),
        ))
    }
}

impl Machine {
    pub fn break_stream(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.session = None;
            worker.reports.clear();
        }
    }

    /// Its worker is told that AWS will take it away.
    pub fn interrupt(&mut self) {
        self.leaving |= self.worker.is_some();
    }

    fn switch(&mut self, power: Power, now: Moment, changes_at: Moment) {
        (self.power, self.since, self.changes_at) = (power, now, changes_at);
        self.running_since = None;
        self.worker = None;
    }
}
