//! A small model of EC2, the queue and the workers, in plain code, that plans are carried out on.

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
    /// Until when stopped instances are paid for.
    paid_off: Vec<Moment>,
    /// How often workers were withdrawn after some were added, or the other way round.
    pub reversals: u32,
    last_added: Option<bool>,
    pub front_is_lost: bool,
    pub queue_is_lost: bool,
    pub ec2_is_lost: bool,
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
            paid_off: Vec::new(),
            reversals: 0,
            last_added: None,
            front_is_lost: false,
            queue_is_lost: false,
            ec2_is_lost: false,
            random: seed | 1,
        }
    }

    pub fn arrive(&mut self, requests: u64) {
        self.unanswered += requests;
        self.accepted_total += requests;
        self.visible += requests;
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

    fn check(&self, observation: &Observation, plan: &Plan) {
        let bounds = self.policy.bounds;
        let after = self.up() + plan.start.len() + plan.launch as usize - plan.stop.len();
        let still_paid = observation.billing.still_paid;
        let limits = self.policy.limits(self.now, still_paid);
        assert!((limits.min_workers..=limits.max_workers).contains(&plan.desired_workers));
        if let Some(budget) = bounds.budget_per_hour
            && plan.adds()
        {
            let paid_off = |stop: &&Stop| {
                let started_at = self.machine(&stop.id).started_at;
                started_at.after(self.policy.prices.minimum) <= self.now
            };
            let gone = plan.stop.iter().filter(paid_off).count();
            let paid = after + plan.stop.len() - gone + still_paid as usize;
            let spent = paid as f64 * self.policy.prices.per_hour;
            assert!(spent <= budget * 1.000_001, "{spent} an hour: {plan:?}");
        }
        let stops = plan.stop.len();
        assert!(
            after <= bounds.max_workers as usize,
            "above the maximum: {observation:?} {plan:?}"
        );
        assert!(stops == 0 || self.described_at.is_some());
        let working = observation
            .instances
            .iter()
            .filter(|it| it.is_capacity())
            .count();
        let unwanted = |id: &&InstanceId| !self.machine(id).leaving;
        let withdrawn = plan.cordon.iter().filter(unwanted).count();
        if withdrawn > 0 {
            assert!(
                working - withdrawn >= plan.desired_workers as usize,
                "{plan:?}"
            );
        }
        for stop in &plan.stop {
            let machine = self.machine(&stop.id);
            assert_eq!(machine.power, Power::Running, "{plan:?}");
            let worker = machine
                .worker
                .as_ref()
                .expect("a running machine has a worker");
            match stop.cause {
                StopCause::Drained => {
                    assert!(worker.cordoned, "{worker:?}");
                    assert!(
                        matches!(worker.phase, Phase::Loading | Phase::Parked),
                        "{worker:?}"
                    );
                }
                StopCause::Silent | StopCause::NeverAttended => assert!(worker.hung, "{worker:?}"),
            }
        }
        for id in &plan.start {
            assert_eq!(self.machine(id).power, Power::Stopped, "{plan:?}");
        }
    }

    fn execute(&mut self, plan: &Plan) {
        let now = self.now;
        if plan.adds() || !plan.cordon.is_empty() {
            let before = self.last_added.replace(plan.adds());
            self.reversals += u32::from(before.is_some_and(|added| added != plan.adds()));
        }
        plan.cordon
            .iter()
            .for_each(|id| self.roster.cordon(id, now));
        plan.uncordon
            .iter()
            .for_each(|id| self.roster.uncordon(id, now));
        for id in &plan.start {
            self.roster.forget(id);
            let ready_at = self.after(50, 900);
            let machine = self.machine_mut(id);
            machine.switch(Power::Pending, ready_at);
            (machine.started_at, machine.leaving) = (now, false);
        }
        for _ in 0..plan.launch {
            let id = InstanceId::from(format!("i-{:04}", self.machines.len()).as_str());
            let changes_at = self.after(50, 900);
            self.roster.admit([id.clone()]);
            self.machines.push(Machine {
                id,
                number: None,
                power: Power::Pending,
                changes_at,
                started_at: now,
                leaving: false,
                running_since: None,
                listed: false,
                worker: None,
            });
        }
        for stop in &plan.stop {
            assert!(
                self.roster.condemn(&stop.id, stop.cause, now, now),
                "{stop:?}"
            );
            let paid_off_at = self
                .machine(&stop.id)
                .started_at
                .after(self.policy.prices.minimum);
            self.paid_off.push(paid_off_at);
            let gone_at = self.after(50, 3_000);
            self.machine_mut(&stop.id).switch(Power::Stopping, gone_at);
        }
        for (id, number) in &plan.rename {
            self.machine_mut(id).number = Some(*number);
        }
        // What is ordered is known at once, what happens by itself only when EC2 is asked.
        let stopped = plan.stop.iter().map(|stop| &stop.id);
        let named = plan.rename.iter().map(|(id, _)| id);
        let ordered: Vec<_> = plan.start.iter().chain(stopped).chain(named).collect();
        for (id, power, number) in &mut self.described {
            if ordered.contains(&&*id) {
                let machine = self.machines.iter().find(|it| it.id == *id);
                (*power, *number) = machine.map_or((*power, *number), |it| (it.power, it.number));
            }
        }
        for machine in &self.machines[self.machines.len() - plan.launch as usize..] {
            self.described
                .push((machine.id.clone(), machine.power, machine.number));
        }
    }

    fn step_machine(&mut self, index: usize) {
        let now = self.now;
        let slow = self.after(100, 3_000);
        let machine = &mut self.machines[index];
        match machine.power {
            Power::Pending if now >= machine.changes_at => {
                machine.power = Power::Running;
                machine.worker = Some(Worker::new(now, slow));
            }
            Power::Stopping if now >= machine.changes_at => {
                machine.power = Power::Stopped;
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
        if worker.session.is_none() {
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

    fn look(&mut self) {
        let now = self.now;
        if !self.front_is_lost {
            let value = FrontDemand {
                unanswered: self.unanswered,
                accepted_total: self.accepted_total,
                answered_total: self.accepted_total - self.unanswered,
            };
            self.front = Some(Seen { value, at: now });
        }
        let due = |at: Option<Moment>| at.is_none_or(|at| now.since(at) >= POLL_EVERY);
        if !self.queue_is_lost && due(self.queue.map(|queue| queue.at)) {
            let value = Counters {
                visible: self.visible,
                in_flight: self.hidden.len() as u64,
                delayed: 0,
            };
            self.queue = Some(Seen { value, at: now });
        }
        if !self.ec2_is_lost && due(self.described_at) {
            self.described_at = Some(now);
            self.described = self
                .machines
                .iter()
                .map(|it| (it.id.clone(), it.power, it.number))
                .collect();
            let fleet = self.machines.iter().map(|it| it.id.clone());
            self.roster.fleet_is(fleet.collect(), now);
            for machine in &mut self.machines {
                machine.listed = true;
                if machine.power == Power::Running {
                    machine.running_since.get_or_insert(now);
                }
            }
        }
    }

    fn observe(&self) -> Observation {
        let instances = self.described.iter().map(|(id, power, number)| {
            let attending = self.roster.get(id);
            let known = attending.and_then(|it| Some((it.state?, it.since)));
            let (state, since) = match power {
                Power::Stopped => (State::Stopped, self.machine(id).changes_at),
                Power::Stopping => (State::Stopping, self.now),
                Power::Pending => match known {
                    Some((State::Cordoned, since)) => (State::Draining, since),
                    known => known.unwrap_or((State::Pending, self.now)),
                },
                Power::Running => known.unwrap_or((State::Booting, self.now)),
            };
            Instance {
                id: id.clone(),
                number: *number,
                state,
                since,
                heard: attending.and_then(|it| it.heard),
                running_since: self
                    .machine(id)
                    .running_since
                    .filter(|_| *power == Power::Running),
                listed: self.machine(id).listed,
                started_at: Some(self.machine(id).started_at),
                leaving: self.machine(id).leaving,
            }
        });
        Observation {
            now: self.now,
            front: self.front,
            queue: self.queue,
            instances: instances.collect(),
            launching: 0,
            described_at: self.described_at,
            failed_boots: None,
            held: Held::default(),
            billing: self.billing(),
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

    fn switch(&mut self, power: Power, changes_at: Moment) {
        (self.power, self.changes_at, self.running_since) = (power, changes_at, None);
        self.worker = None;
    }
}
