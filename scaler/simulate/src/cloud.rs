//! The queue, EC2's instances with their workers, and what the scaler observes of them.
//!
//! Requests are simulated one by one. Each costs only an entry in the queue and one in the heap of completions, so that
//! hundreds of millions are possible.
//!
//! - `ec2`: starts, launches, stops, and how instances come up and go down.
//! - `workers`: how workers take jobs, obey orders, and die.
//! - `view`: what the scaler observes: late, and incomplete.
//! - `machine`: one instance and its worker; `bill`: what EC2 charges.

mod bill;
mod ec2;
mod machine;
mod view;
mod workers;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use bill::Bill;
pub use machine::{Machine, Phase, Power};
use scaler_plan::throttle::{Backoff, TokenBucket};
use scaler_plan::{Counters, InstanceId, Observation, Timestamp};
pub(crate) use view::{micros_at, timestamp};

use crate::histogram::Histogram;
use crate::outcome::Outcome;
use crate::random::{Lognormal, Random, Stream};
use crate::{Micros, Scenario, micros};

/// A completion is one number, the time above the machine's index, so that the heap compares numbers.
const MACHINE_BITS: u32 = 20;

/// The true state of everything. Its driver lets time pass and requests arrive, observes, and makes calls.
#[derive(Debug)]
pub struct Cloud {
    pub scenario: Scenario,
    pub faults: Faults,
    pub(crate) now: Micros,
    /// The waiting requests, by when they were accepted.
    queue: VecDeque<Micros>,
    /// Frames of clips that no worker has begun. Workers take them while no request waits.
    waiting_frames: u64,
    /// Their ids are their indices. Terminated ones remain.
    machines: Vec<Machine>,
    /// The workers that wait for work. The queue gives a message to a random one.
    waiting: Vec<u32>,
    pub(crate) completions: BinaryHeap<Reverse<u64>>,
    events: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    event_count: u64,
    /// Jobs of dead workers that have not reappeared.
    lost_jobs: u64,
    service: Lognormal,
    boot: Lognormal,
    stop: Lognormal,
    service_random: Random,
    cloud_random: Random,

    pub(crate) observation: Observation,
    described_at: Option<Micros>,
    /// The queue's counters at each poll, as far back as they may still be reported.
    counted: VecDeque<(Micros, Counters)>,
    /// When the scaler plans next.
    pub(crate) plan_at: Micros,

    start_calls: Calls,
    launch_calls: Calls,
    bill: Bill,
    up: u32,
    /// When the last reply was sent.
    pub(crate) answered_at: Micros,
    /// Latencies and arrivals since the last sample.
    pub(crate) recent: Histogram,
    pub(crate) recently_accepted: u64,
    pub(crate) outcome: Outcome,
}

/// Injected faults in what the scaler observes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub front_is_lost: bool,
    pub queue_is_lost: bool,
    pub ec2_is_lost: bool,
    /// The queue's counters are zero.
    pub counters_are_blind: bool,
    /// EC2's list lacks the instances launched since this was set.
    pub list_lags: bool,
}

/// EC2's limit on calls of one kind, and the scaler's backoff.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
#[derive(Debug, Clone)]
struct Calls {
    bucket: TokenBucket,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next step of a machine's start or stop.
    Turn { machine: u32, epoch: u32 },
    /// A worker reads its orders.
    Confirm { machine: u32, epoch: u32 },
    /// The instances of a launch exist.
    Launched(u32),
    /// The job of a dead worker reappears.
    Reappear(Job),
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    /// A request, by when it was accepted.
    Photo(Micros),
    Frame,
}

impl Cloud {
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let calls = Calls::new(scenario.calls);
        let lognormal = |(mean, variation)| Lognormal::of(mean, variation);
        let mut cloud = Self {
            faults: Faults::default(),
            now: 0,
            queue: VecDeque::new(),
            waiting_frames: 0,
            machines: Vec::new(),
            waiting: Vec::new(),
            completions: BinaryHeap::new(),
            events: BinaryHeap::new(),
            event_count: 0,
            lost_jobs: 0,
            service: lognormal(scenario.service),
            boot: lognormal(scenario.boot),
            stop: lognormal(scenario.stop),
            service_random: Random::new(scenario.seed, Stream::Service),
            cloud_random: Random::new(scenario.seed, Stream::Cloud),
            observation: Observation::default(),
            described_at: None,
            counted: VecDeque::new(),
            plan_at: 0,
            start_calls: calls.clone(),
            launch_calls: calls,
            bill: Bill::new(scenario.policy.prices),
            up: 0,
            answered_at: 0,
            recent: Histogram::default(),
            recently_accepted: 0,
            outcome: Outcome::default(),
            scenario,
        };
        for number in 1..=cloud.scenario.pool {
            cloud.create(Some(number));
        }
        cloud
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        timestamp(self.now)
    }

    /// All instances in the order of their creation, with those that are terminated.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    #[must_use]
    pub fn machine(&self, id: &InstanceId) -> &Machine {
        &self.machines[index_of(id)]
    }

    #[must_use]
    pub fn id(&self, index: usize) -> &InstanceId {
        &self.observation.instances[index].id
    }

    /// Returns how many instances are up, including those that still boot.
    #[must_use]
    pub fn up(&self) -> u32 {
        self.up
    }

    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.outcome.accepted - self.outcome.answered
    }

    /// Returns how many instances launches in progress have requested. They are not up yet.
    #[must_use]
    pub fn launching(&self) -> u32 {
        self.observation.launching
    }

    /// Returns how many messages the queue holds, including those in flight.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.counters().messages()
    }

    fn counters(&self) -> Counters {
        Counters {
            // Front keeps one frame on the queue beyond those that workers have.
            visible: self.queue.len() as u64 + self.waiting_frames.min(1),
            in_flight: self.completions.len() as u64 + self.lost_jobs,
            delayed: 0,
        }
    }

    /// Accepts a request.
    pub fn accept(&mut self) {
        if self.unanswered() == 0 {
            self.plan_soon();
        }
        self.outcome.accepted += 1;
        self.outcome.accepted_sum = self.outcome.accepted_sum.wrapping_add(self.now);
        self.recently_accepted += 1;
        self.queue.push_back(self.now);
        self.hand_out();
    }

    /// Accepts a clip, split into so many frames.
    pub fn accept_frames(&mut self, frames: u64) {
        if self.undone_frames() == 0 {
            self.plan_soon();
        }
        self.outcome.frames += frames;
        self.waiting_frames += frames;
        self.hand_out();
    }

    /// Returns how many frames of clips are not done.
    #[must_use]
    pub fn undone_frames(&self) -> u64 {
        self.outcome.frames - self.outcome.frames_done
    }

    /// Lets `time` pass.
    pub fn advance(&mut self, time: Micros) {
        let until = self.now + time;
        loop {
            let (completion, event) = (self.next_completion(), self.next_event());
            let next = completion.into_iter().chain(event).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = next;
            if completion == Some(next) {
                self.complete();
            } else {
                self.handle_event();
            }
        }
        self.now = until;
    }

    pub(crate) fn next_completion(&self) -> Option<Micros> {
        self.completions.peek().map(|next| next.0 >> MACHINE_BITS)
    }

    pub(crate) fn next_event(&self) -> Option<Micros> {
        self.events.peek().map(|next| next.0.0)
    }

    pub(crate) fn handle_event(&mut self) {
        let Some(Reverse((_, _, event))) = self.events.pop() else {
            return;
        };
        match event {
            Event::Turn { machine, epoch } => {
                if self.machines[machine as usize].epoch == epoch {
                    self.turn(machine as usize);
                }
            }
            Event::Confirm { machine, epoch } => {
                if self.machines[machine as usize].epoch == epoch {
                    self.confirm(machine as usize);
                }
            }
            Event::Launched(count) => self.launched(count),
            Event::Reappear(job) => {
                self.lost_jobs -= 1;
                match job {
                    Job::Photo(accepted_at) => self.queue.push_front(accepted_at),
                    Job::Frame => self.waiting_frames += 1,
                }
                self.hand_out();
            }
        }
    }

    fn schedule(&mut self, at: Micros, event: Event) {
        self.event_count += 1;
        self.events.push(Reverse((at, self.event_count, event)));
    }

    /// The scaler plans after the debounce time.
    fn plan_soon(&mut self) {
        let soon = self.now + micros(self.scenario.debounce);
        self.plan_at = self.plan_at.min(soon);
    }

    /// Returns what EC2 has billed so far.
    pub(crate) fn billed(&self) -> Micros {
        let up = self.machines.iter().filter(|machine| machine.is_up());
        let started = up.map(|machine| timestamp(machine.started_at));
        self.bill.total(started, self.now())
    }
}

impl Calls {
    fn new((capacity, per_second): (f64, f64)) -> Self {
        Self {
            bucket: TokenBucket::new(capacity, per_second, capacity),
            backoff: Backoff::default(),
        }
    }

    /// Until when the scaler holds calls back, in the simulation's resolution.
    fn held_until(&self) -> Option<Timestamp> {
        let until = self.backoff.until()?;
        Some(timestamp(micros(until.since(timestamp(0)))))
    }

    /// Returns whether EC2 accepts a call. A refused one backs off.
    fn accepts(&mut self, now: Timestamp, random: &mut Random) -> bool {
        self.bucket.refill(now);
        let accepted = self.bucket.available() > 0;
        if accepted {
            self.bucket.spend(1);
            self.backoff.succeed();
        } else {
            self.backoff.fail(Duration::ZERO, random.unit(), now);
        }
        accepted
    }
}

/// Returns the index of a machine. Ids carry it, so that no search is needed.
pub(crate) fn index_of(id: &InstanceId) -> usize {
    id.as_str()
        .trim_start_matches("i-")
        .parse()
        .expect("plans name instances of the observation")
}
