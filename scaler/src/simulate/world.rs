//! The simulated world: arrivals, the queue, instances with their workers, and the scaler's plans in between.
//!
//! Requests are simulated one by one, but cost only an entry in the queue and one in the heap of completions, so that
//! hundreds of millions of them can be.

mod carry;
mod look;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::bill::Bill;
use super::histogram::Histogram;
use super::limit::{Backoff, TokenBucket};
use super::machine::{Machine, Phase};
use super::outcome::{Outcome, Sample};
use super::random::{Lognormal, Random, Stream};
use super::settings::Settings;
use super::{Micros, micros};
use crate::plan::{Counters, Memory, Observation};

/// A completion is one number, the time above the machine's index, so that the heap compares numbers.
const MACHINE_BITS: u32 = 20;
const SAMPLES: u64 = 400;

#[derive(Debug)]
pub(super) struct World<'a> {
    settings: &'a Settings,
    now: Micros,
    /// The requests that wait, by when they were accepted.
    queue: VecDeque<Micros>,
    machines: Vec<Machine>,
    /// The workers that wait for work. The queue gives a message to any of them.
    waiting: Vec<u32>,
    completions: BinaryHeap<Reverse<u64>>,
    events: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    event_count: u64,
    /// Jobs of dead workers that have not reappeared.
    lost_jobs: u64,
    service: Lognormal,
    boot: Lognormal,
    service_random: Random,
    cloud_random: Random,

    observation: Observation,
    memory: Memory,
    next_tick: Micros,
    next_plan: Micros,
    described_at: Option<Micros>,
    /// What the queue's counters showed at each tick, as far as it may still be told.
    counted: VecDeque<(Micros, Counters)>,
    start_bucket: TokenBucket,
    launch_bucket: TokenBucket,
    start_backoff: Backoff,
    launch_backoff: Backoff,

    bill: Bill,
    up: u32,
    /// When the last answer was given.
    answered_at: Micros,
    /// Whether instances were started when the number of them was last changed.
    grows: Option<bool>,
    recent: Histogram,
    recently_accepted: u64,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next step of a machine's start or stop.
    Turn { machine: u32, epoch: u32 },
    /// A worker looks at its orders.
    Confirm { machine: u32, epoch: u32 },
    /// EC2 has taken a launch of so many.
    Launched(u32),
    /// The job of a dead worker reappears.
    Reappear(Micros),
}

impl<'a> World<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        let (calls, refill) = settings.calls;
        let mut world = Self {
            settings,
            now: 0,
            queue: VecDeque::new(),
            machines: Vec::new(),
            waiting: Vec::new(),
            completions: BinaryHeap::new(),
            events: BinaryHeap::new(),
            event_count: 0,
            lost_jobs: 0,
            service: Lognormal::of(settings.service.0, settings.service.1),
            boot: Lognormal::of(settings.boot.0, settings.boot.1),
            service_random: Random::new(settings.seed, Stream::Service),
            cloud_random: Random::new(settings.seed, Stream::Cloud),
            observation: Observation::default(),
            memory: Memory::default(),
            next_tick: 0,
            next_plan: 0,
            described_at: None,
            counted: VecDeque::new(),
            start_bucket: TokenBucket::new(calls, refill),
            launch_bucket: TokenBucket::new(calls, refill),
            start_backoff: Backoff::default(),
            launch_backoff: Backoff::default(),
            bill: Bill::with_minimum(micros(settings.policy.prices.minimum)),
            up: 0,
            answered_at: 0,
            grows: None,
            recent: Histogram::default(),
            recently_accepted: 0,
            outcome: Outcome::default(),
        };
        for number in 1..=settings.pool {
            world.create(Some(number));
        }
        world
    }

    /// Runs until all requests are answered and all instances are down, or patience is at an end. `arrivals` are
    /// moments since the beginning, in order; `length` is how long the trace is.
    pub(super) fn run(
        mut self,
        mut arrivals: impl Iterator<Item = Micros>,
        length: Micros,
    ) -> Outcome {
        let sample_every = (length / SAMPLES).max(1);
        let mut next_sample = 0;
        let mut arrival = arrivals.next();
        loop {
            if arrival.is_none() && self.is_over(length) {
                break;
            }
            let completion = self.completions.peek().map(|next| next.0 >> MACHINE_BITS);
            let event = self.events.peek().map(|next| next.0.0);
            let planning = self.next_plan.min(next_sample);
            let first = [completion, event, arrival]
                .into_iter()
                .flatten()
                .fold(planning, Micros::min);
            self.now = first;
            if completion == Some(first) {
                self.complete();
            } else if arrival == Some(first) {
                self.accept();
                arrival = arrivals.next();
            } else if event == Some(first) {
                if let Some(Reverse((_, _, event))) = self.events.pop() {
                    self.happen(event);
                }
            } else if self.next_plan == first {
                self.decide();
            } else {
                self.sample(sample_every);
                next_sample = first + sample_every;
            }
        }
        self.finish()
    }

    /// Whether nothing more happens that counts, once all requests of a trace of this length have come.
    fn is_over(&self, length: Micros) -> bool {
        let quiet_since = self.answered_at.max(length);
        let waited = self.now.saturating_sub(quiet_since);
        let patience = micros(self.settings.patience);
        if self.unanswered() > 0 {
            // A policy that leaves requests for ever must not keep the simulation going for ever.
            return waited > 2 * patience;
        }
        let at_rest = self.up == 0 && self.observation.launching == 0;
        self.now >= length && (at_rest || waited >= patience)
    }

    fn unanswered(&self) -> u64 {
        self.outcome.accepted - self.outcome.answered
    }

    fn accept(&mut self) {
        if self.unanswered() == 0 {
            self.plan_soon();
        }
        self.outcome.accepted += 1;
        self.outcome.accepted_sum = self.outcome.accepted_sum.wrapping_add(self.now);
        self.recently_accepted += 1;
        self.queue.push_back(self.now);
        self.hand_out();
    }

    /// News is gathered for a moment before a decision.
    fn plan_soon(&mut self) {
        self.next_plan = self.next_plan.min(self.now + micros(self.settings.gather));
    }

    /// Gives waiting requests to waiting workers.
    fn hand_out(&mut self) {
        while !self.queue.is_empty() && !self.waiting.is_empty() {
            let chosen = self.service_random.below(self.waiting.len());
            let index = self.waiting[chosen];
            self.stop_waiting(index as usize);
            let completion = self.take_job(index as usize);
            self.completions.push(Reverse(completion));
        }
    }

    /// The machine begins with the request at the head of the queue; answers its completion.
    fn take_job(&mut self, index: usize) -> u64 {
        let request = self
            .queue
            .pop_front()
            .expect("jobs are taken while there are some");
        let seconds = self.service.sample(&mut self.service_random);
        let dies = self.service_random.chance(self.settings.deadly_jobs);
        let machine = &mut self.machines[index];
        machine.enter(Phase::Busy, self.now);
        (machine.request, machine.dies) = (request, dies);
        let done_at = self.now + (seconds * 1e6) as Micros;
        (done_at << MACHINE_BITS) | index as u64
    }

    fn complete(&mut self) {
        let Some(first) = self.completions.peek_mut() else {
            return;
        };
        let index = (first.0 & ((1 << MACHINE_BITS) - 1)) as usize;
        let machine = &mut self.machines[index];
        let request = machine.request;
        if machine.dies {
            std::collections::binary_heap::PeekMut::pop(first);
            machine.enter(Phase::Dead, self.now);
            self.lost_jobs += 1;
            let back_at = self.now + micros(self.settings.visibility_timeout);
            self.schedule(back_at, Event::Reappear(request));
            return;
        }
        if machine.cordoned {
            std::collections::binary_heap::PeekMut::pop(first);
            machine.enter(Phase::Idle, self.now);
            machine.confirmed = true;
        } else if self.queue.is_empty() {
            std::collections::binary_heap::PeekMut::pop(first);
            self.wait_for_work(index);
        } else {
            // Replacing the first entry of the heap is half the work of removing it and adding another.
            drop(first);
            let next = self.take_job(index);
            if let Some(mut first) = self.completions.peek_mut() {
                *first = Reverse(next);
            }
        }
        self.answer(request);
    }

    fn answer(&mut self, request: Micros) {
        let latency = self.now - request;
        self.outcome.latencies.record(latency);
        self.recent.record(latency);
        self.outcome.answered += 1;
        self.answered_at = self.now;
        self.outcome.answered_sum = self.outcome.answered_sum.wrapping_add(request);
        if self.unanswered() == 0 {
            self.plan_soon();
        }
    }

    fn wait_for_work(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        machine.enter(Phase::Idle, self.now);
        machine.waits_at = self.waiting.len();
        self.waiting.push(index as u32);
    }

    fn stop_waiting(&mut self, index: usize) {
        let place = self.machines[index].waits_at;
        self.waiting.swap_remove(place);
        if let Some(&moved) = self.waiting.get(place) {
            self.machines[moved as usize].waits_at = place;
        }
    }

    fn schedule(&mut self, at: Micros, event: Event) {
        self.event_count += 1;
        self.events.push(Reverse((at, self.event_count, event)));
    }

    fn happen(&mut self, event: Event) {
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
            Event::Reappear(request) => {
                self.lost_jobs -= 1;
                self.queue.push_front(request);
                self.hand_out();
            }
        }
    }

    fn sample(&mut self, every: Micros) {
        let seconds = every as f64 / 1e6;
        let busy = self.completions.len();
        self.outcome.samples.push(Sample {
            at: self.now as f64 / 1e6,
            arrivals: self.recently_accepted as f64 / seconds,
            unanswered: self.unanswered(),
            up: self.up,
            busy: u32::try_from(busy).unwrap_or(u32::MAX),
            latency: self.recent.quantile(0.95),
        });
        self.recent.clear();
        self.recently_accepted = 0;
    }

    fn finish(mut self) -> Outcome {
        let up = self.machines.iter().filter(|machine| machine.is_up());
        let running: Micros = up
            .map(|machine| self.bill.so_far(machine.started_at, self.now))
            .sum();
        self.outcome.billed = self.bill.finished() + running;
        self.outcome.ended_at = self.now;
        self.outcome
    }
}
