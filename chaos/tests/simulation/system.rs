//! Everything, and the loop that runs its events.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use localcloud::SqsFaults;
use proto::JobId;
use scaler_plan::Timestamp;

use crate::clients::{Client, Photo, client, photos};
use crate::ec2::Ec2;
use crate::event::{Event, EventQueue, Time};
use crate::front::Front;
use crate::injected_bugs::InjectedBug;
use crate::objects::Objects;
use crate::queues::{DEAD_LETTERS, REQUESTS, Sqs, millis};
use crate::random::Random;
use crate::scaler::Scaler;
use crate::scenario::Scenario;
use crate::worker::Worker;

/// The time of day at the beginning, since the Unix epoch.
pub const EPOCH: Duration = Duration::from_secs(1_800_000_000);
/// How long after the faults everything must be settled: a message is dead after five visibility timeouts.
const SETTLES_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Simulation {
    pub seed: u64,
    pub scenario: Scenario,
    pub now: Time,
    /// The origin of the `Instant`s of the product's code.
    began: Instant,
    pub event_queue: EventQueue,
    pub random: Random,
    pub sqs: Sqs,
    pub s3: Objects,
    pub ec2: Ec2,
    pub photos: Vec<Photo>,
    pub clients: Vec<Client>,
    pub unanswered: usize,
    pub fronts: Vec<Front>,
    /// A rule that the services break.
    pub injected_bug: Option<InjectedBug>,
    /// Which client each request is from.
    pub senders: BTreeMap<JobId, usize>,
    /// The requests whose job front has sent.
    pub queued: BTreeSet<JobId>,
    /// Those that a worker has replied to.
    pub replied: BTreeSet<JobId>,
    /// The replies that reached a queue, with its name.
    pub replies: Vec<(String, String)>,
    /// The requests that waited for their reply when it came.
    pub delivered: BTreeSet<JobId>,
    /// The running workers, by instance.
    pub workers: BTreeMap<usize, Worker>,
    pub scaler: Scaler,
    clock: &'static AtomicU64,
    /// The n-th step of a job or of a request from now on kills its process.
    pub doomed_job_step: Option<u32>,
    pub doomed_front_step: Option<u32>,
    pub counts: Counts,
    trace: Trace,
    violation: Option<String>,
}

/// What a seed exercised.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub events: u64,
    pub named: u64,
    pub refused: u64,
    pub disconnected: u64,
    pub dead_letters: u64,
    pub kept: u64,
    pub redeliveries: u64,
    pub kills: u64,
    pub scaled_in: u64,
    pub plans: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.named += other.named;
        self.refused += other.refused;
        self.disconnected += other.disconnected;
        self.dead_letters += other.dead_letters;
        self.kept += other.kept;
        self.redeliveries += other.redeliveries;
        self.kills += other.kills;
        self.scaled_in += other.scaled_in;
        self.plans += other.plans;
    }
}

#[derive(Debug)]
pub enum Trace {
    Off,
    Print,
    Hash(DefaultHasher),
}

impl Simulation {
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut random = Random::new(seed);
        let scenario = Scenario::of(&mut random);
        let mut simulation = Self::with(seed, scenario, random, trace);
        simulation.note(|| format!("seed {seed}"));
        simulation.schedule_clients();
        for (at, fault) in std::mem::take(&mut simulation.scenario.faults) {
            simulation.after(at, Event::Fault(fault));
        }
        simulation.after(simulation.scenario.calm_at, Event::Calm);
        simulation.start_scaler();
        simulation
    }

    pub fn with(seed: u64, scenario: Scenario, mut random: Random, trace: Trace) -> Self {
        let photos = photos(&mut random, scenario.visibility_timeout);
        let clients = scenario.arrivals.iter();
        let clients: Vec<_> = clients
            .map(|_| client(&mut random, &photos, scenario.fronts))
            .collect();
        // A clock of the scaler's lives as long as the process.
        let clock: &AtomicU64 = Box::leak(Box::default());
        clock.store(EPOCH.as_micros() as u64, Ordering::Relaxed);
        let mut simulation = Self {
            seed,
            now: Time::ZERO,
            began: Instant::now(),
            event_queue: EventQueue::default(),
            sqs: Sqs::new(scenario.visibility_timeout, scenario.sqs, seed),
            s3: Objects::default(),
            ec2: Ec2::default(),
            unanswered: clients.len(),
            photos,
            clients,
            fronts: Vec::new(),
            injected_bug: None,
            senders: BTreeMap::new(),
            queued: BTreeSet::new(),
            replied: BTreeSet::new(),
            replies: Vec::new(),
            delivered: BTreeSet::new(),
            workers: BTreeMap::new(),
            scaler: Scaler::new(1, clock, scenario.policy.prices),
            clock,
            doomed_job_step: None,
            doomed_front_step: None,
            counts: Counts::default(),
            trace,
            violation: None,
            random,
            scenario,
        };
        for front in 0..simulation.scenario.fronts {
            simulation.fronts.push(Front::default());
            simulation.start_front(front, false);
        }
        simulation
    }

    /// Runs to the end, and returns what was exercised.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&mut self) -> Result<Counts, String> {
        while let Some((at, event)) = self.event_queue.pop() {
            self.happen(at, event);
            if let Some(what) = self.violation.take() {
                return Err(what);
            }
            if self.is_settled() {
                self.check_the_end()?;
                return Ok(self.counts);
            }
            if self.now > self.scenario.calm_at + SETTLES_WITHIN {
                return Err(format!("it never settles: {}", self.unsettled()));
            }
        }
        Err("nothing happens any more".to_owned())
    }

    pub fn happen(&mut self, at: Time, event: Event) {
        self.now = self.now.max(at);
        let micros = (EPOCH + self.now).as_micros() as u64;
        self.clock.store(micros, Ordering::Relaxed);
        self.counts.events += 1;
        self.note(|| format!("{event:?}"));
        match event {
            Event::Client(client) => self.client_sends(client),
            Event::Front { front, life, step } => self.front_step(front, life, step),
            Event::Worker {
                instance,
                life,
                step,
            } => self.worker_step(instance, life, step),
            Event::Scaler { life, step } => self.scaler_step(life, step),
            Event::Ec2(step) => self.ec2_step(step),
            Event::PollEnds(call) => self.poll_ends(call),
            Event::Due(queue) => self.pump(&queue),
            Event::Fault(fault) => self.fail(fault),
            Event::FrontReturns { front, same_queue } => self.start_front(front, same_queue),
            Event::ScalerReturns => self.start_scaler(),
            Event::Calm => self.calm_down(),
        }
    }

    /// Whether the faults are over, each client has its answer, and no message is left.
    pub fn is_settled(&mut self) -> bool {
        self.unanswered == 0
            && self.now >= self.scenario.calm_at
            && self.sqs.messages(REQUESTS, self.now) == 0
            && self.workers.values().all(|worker| worker.jobs.is_empty())
            && self.fronts.iter().all(|front| {
                let queue = &front.reply_queue;
                !front.is_up || self.sqs.messages(queue, self.now) == 0
            })
    }

    fn unsettled(&mut self) -> String {
        let messages = self.sqs.messages(REQUESTS, self.now);
        let clients = self.clients.iter().enumerate();
        let waiting: Vec<_> = clients
            .filter(|(_, client)| client.answer.is_none())
            .map(|(number, _)| number)
            .collect();
        format!(
            "clients {waiting:?} have no answer, {messages} messages are left; workers: {:?}",
            self.workers.values().collect::<Vec<_>>()
        )
    }

    fn check_the_end(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            match self.clients[client].answer.clone() {
                Some(crate::clients::Answer::Name { key, .. }) => {
                    self.counts.named += 1;
                    self.check_result(client, &key)?;
                }
                Some(crate::clients::Answer::Error { .. }) => self.counts.refused += 1,
                Some(crate::clients::Answer::Disconnected) => self.counts.disconnected += 1,
                None => return Err(format!("client {client} has no answer")),
            }
        }
        self.check_replies()?;
        self.counts.kept = self.s3.kept.len() as u64;
        self.counts.dead_letters = self.sqs.messages(DEAD_LETTERS, self.now) as u64;
        let ended_otherwise = self.queued.difference(&self.replied).count() as u64;
        if ended_otherwise > self.counts.dead_letters {
            return Err(format!(
                "{ended_otherwise} jobs have neither reply nor dead letter, and there are {} dead letters",
                self.counts.dead_letters
            ));
        }
        Ok(())
    }

    /// The faults end: all is as it should be from now on.
    fn calm_down(&mut self) {
        (self.sqs.down_until, self.s3.down_until) = (self.now, self.now);
        (self.scenario.lost_responses, self.scenario.refused_calls) = (0.0, 0.0);
        (self.doomed_job_step, self.doomed_front_step) = (None, None);
        self.sqs
            .queues
            .set_faults(SqsFaults::default(), self.seed, millis(self.now));
    }

    pub fn violated(&mut self, what: String) {
        self.note(|| format!("VIOLATION: {what}"));
        self.violation.get_or_insert(what);
    }

    pub fn take_violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    /// Adds a line to the trace. An end of a trace is equal only if all before it is.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        match &mut self.trace {
            Trace::Off => {}
            Trace::Print => println!("{:10.6} {}", self.now.as_secs_f64(), line()),
            Trace::Hash(hasher) => (self.now, line()).hash(hasher),
        }
    }

    pub fn trace_hash(&self) -> u64 {
        match &self.trace {
            Trace::Hash(hasher) => hasher.finish(),
            Trace::Off | Trace::Print => 0,
        }
    }

    pub fn breaks(&self, rule: InjectedBug) -> bool {
        self.injected_bug == Some(rule)
    }

    pub fn after(&mut self, wait: Duration, event: Event) {
        self.event_queue.add(self.now + wait, event);
    }

    /// How long a message between two processes takes. Some take long.
    pub fn latency(&mut self) -> Duration {
        let is_slow = self.scenario.has_faults && self.random.chance(0.01);
        let most = if is_slow { 2_000 } else { 15 };
        self.random.millis(1, most)
    }

    pub fn loses_response(&mut self) -> bool {
        let probability = self.scenario.lost_responses;
        probability > 0.0 && self.random.chance(probability)
    }

    /// The present for the product's code.
    pub fn instant(&self) -> Instant {
        self.began + self.now
    }

    pub fn timestamp(&self) -> Timestamp {
        Timestamp::after_epoch(EPOCH + self.now)
    }
}
