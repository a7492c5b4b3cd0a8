//! The scaler: the real view of the fleet, worker registry and planner; the calls around them in the order of
//! `scaler::run::reconcile` and `scaler::execute`.

mod act;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use proto::v1::{WorkerOrder, WorkerReport};
use scaler::clock::Clock;
use scaler::fleet::ledger::Ledger;
use scaler::fleet::worker_registry::WorkerSession;
use scaler::fleet::{FleetView, WorkerRegistry};
use scaler_plan::pace::GATHER;
use scaler_plan::{Counters, FrontDemand, InstanceId, Memory, Prices, Timestamp, Timestamped};
use tokio::sync::watch;

use crate::event::{Event, ScalerStep, Time, WorkerStep};
use crate::queues::{REQUESTS, millis};
use crate::system::Simulation;
use crate::worker::id;

/// As `reconcile`.
const POLL: Duration = Duration::from_millis(500);

pub struct Scaler {
    pub life: u32,
    is_up: bool,
    clock: &'static AtomicU64,
    registry: WorkerRegistry,
    view: FleetView,
    memory: Memory,
    demand: watch::Sender<Option<Timestamped<FrontDemand>>>,
    is_demand_coming: bool,
    sessions: BTreeMap<usize, Session>,
    plans: u64,
    next_plan: Time,
    calls_from: Timestamp,
}

struct Session {
    life: u32,
    stream: u64,
    session: WorkerSession,
    orders: watch::Receiver<Option<WorkerOrder>>,
    last_arrives: Time,
}

impl std::fmt::Debug for Scaler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Scaler")
    }
}

impl Scaler {
    pub fn new(life: u32, clock: &'static AtomicU64, prices: Prices) -> Self {
        let ticking = Clock::simulated(clock);
        let registry = WorkerRegistry::new(ticking);
        let (demand, seen) = watch::channel(None);
        let ledger = Ledger::open(prices, ticking.now());
        Self {
            life,
            is_up: false,
            clock,
            view: FleetView::new(seen, registry.clone(), ledger),
            registry,
            memory: Memory::default(),
            demand,
            is_demand_coming: false,
            sessions: BTreeMap::new(),
            plans: 0,
            next_plan: Time::ZERO,
            calls_from: Timestamp::default(),
        }
    }
}

impl Simulation {
    pub fn start_scaler(&mut self) {
        self.scaler.is_up = true;
        self.scaler_after(Duration::ZERO, ScalerStep::Describe);
        self.scaler_after(Duration::ZERO, ScalerStep::Count);
        self.demand_changed();
        self.plan_after(GATHER);
    }

    /// The scaler dies, and comes back without its memory. EC2 has carried out its last calls by then.
    pub fn restart_scaler(&mut self, down: Duration) {
        if !self.scaler.is_up {
            return;
        }
        let before = &self.scaler;
        let (life, prices) = (before.life + 1, self.scenario.policy.prices);
        let scaler = Scaler::new(life, before.clock, prices);
        let before = std::mem::replace(&mut self.scaler, scaler);
        for (instance, session) in before.sessions {
            self.end_stream(instance, session.stream);
        }
        self.after(down, Event::ScalerReturns);
    }

    fn scaler_after(&mut self, wait: Duration, step: ScalerStep) {
        let life = self.scaler.life;
        self.after(wait, Event::Scaler { life, step });
    }

    fn plan_after(&mut self, wait: Duration) {
        let at = self.now + wait;
        let scaler = &mut self.scaler;
        if scaler.next_plan <= self.now || at < scaler.next_plan {
            scaler.next_plan = at;
            scaler.plans += 1;
            let number = scaler.plans;
            self.scaler_after(wait, ScalerStep::Plan(number));
        }
    }

    /// The worker learns that its stream has ended.
    fn end_stream(&mut self, instance: usize, stream: u64) {
        let wait = self.latency();
        self.worker_after(wait, instance, WorkerStep::StreamEnds(stream));
    }

    /// Breaks a worker's connection to the scaler.
    pub fn break_stream(&mut self, instance: usize) {
        if let Some(session) = self.scaler.sessions.remove(&instance) {
            self.end_stream(instance, session.stream);
        }
    }

    /// Fronts publish their demand.
    pub fn demand_changed(&mut self) {
        if self.scaler.is_up && !std::mem::replace(&mut self.scaler.is_demand_coming, true) {
            let wait = self.latency();
            self.scaler_after(wait, ScalerStep::Demand);
        }
    }

    pub fn scaler_step(&mut self, life: u32, step: ScalerStep) {
        if self.scaler.life != life || !self.scaler.is_up {
            return self.reach_dead_scaler(step);
        }
        match step {
            ScalerStep::Plan(number) => {
                if number == self.scaler.plans {
                    self.plan();
                }
            }
            ScalerStep::Demand => {
                self.scaler.is_demand_coming = false;
                self.note_demand();
                self.plan_after(GATHER);
            }
            ScalerStep::Count => {
                self.scaler_after(POLL, ScalerStep::Count);
                // A heartbeat of the fronts.
                self.note_demand();
                self.count();
            }
            ScalerStep::Counted(at, value) => {
                self.scaler.view.queue = Some(Timestamped { value, at });
            }
            ScalerStep::Describe => {
                self.scaler_after(POLL, ScalerStep::Describe);
                let (at, found) = (self.timestamp(), self.described());
                let wait = self.random.millis(20, 200);
                self.scaler_after(wait, ScalerStep::Described(at, found));
            }
            ScalerStep::Described(at, found) => self.scaler.view.described(found, at),
            ScalerStep::Join {
                instance,
                life,
                stream,
                first,
            } => self.join(instance, life, stream, &first),
            ScalerStep::Report {
                instance,
                stream,
                report,
            } => self.take_report(instance, stream, &report),
            ScalerStep::Leave { instance, stream } => {
                let is_it = |it: &&Session| it.stream == stream;
                if self.scaler.sessions.get(&instance).filter(is_it).is_some() {
                    self.scaler.sessions.remove(&instance);
                }
            }
            ScalerStep::CallEnded(call, result) => self.call_ended(call, result),
        }
        self.send_orders();
    }

    /// A message of a worker arrives at a scaler that is gone.
    fn reach_dead_scaler(&mut self, step: ScalerStep) {
        match step {
            ScalerStep::Join {
                instance, stream, ..
            }
            | ScalerStep::Report {
                instance, stream, ..
            } => self.end_stream(instance, stream),
            _ => {}
        }
    }

    fn note_demand(&mut self) {
        let up = self.fronts.iter().filter(|front| front.is_up);
        let demands: Vec<_> = up.map(|front| front.pending.demand()).collect();
        if demands.is_empty() {
            return;
        }
        let sum = |of: fn(&platform::demand::Demand) -> u64| demands.iter().map(of).sum();
        let value = FrontDemand {
            unanswered: sum(|it| it.unanswered),
            accepted_total: sum(|it| it.accepted_total),
            answered_total: sum(|it| it.answered_total),
            ..FrontDemand::default()
        };
        let at = self.timestamp();
        self.scaler
            .demand
            .send_replace(Some(Timestamped { value, at }));
    }

    fn count(&mut self) {
        if self.now < self.sqs.down_until {
            return;
        }
        let (at, now) = (self.timestamp(), millis(self.now));
        let Ok(queue) = self.sqs.queues.queue(REQUESTS) else {
            return;
        };
        let counts = queue.counts_at(now);
        let counters = Counters {
            visible: counts.available as u64,
            in_flight: counts.in_flight as u64,
            delayed: counts.delayed as u64,
        };
        let wait = self.latency();
        self.scaler_after(wait, ScalerStep::Counted(at, counters));
    }

    fn join(&mut self, instance: usize, life: u32, stream: u64, first: &WorkerReport) {
        let (sender, orders) = watch::channel(None);
        let Some(session) = self.scaler.registry.join(&name(instance), sender) else {
            let wait = self.latency();
            return self.worker_after(wait, instance, WorkerStep::StreamEnds(stream));
        };
        let session = Session {
            life,
            stream,
            session,
            orders,
            last_arrives: self.now,
        };
        self.scaler.sessions.insert(instance, session);
        self.take_report(instance, stream, first);
    }

    fn take_report(&mut self, instance: usize, stream: u64, report: &WorkerReport) {
        let session = self.scaler.sessions.get(&instance);
        match session.filter(|it| it.stream == stream) {
            Some(session) if session.session.report(report) => self.plan_after(GATHER),
            _ => self.end_stream(instance, stream),
        }
        if self.scaler.registry.busy_workers_stopped() > 0 {
            let what = format!("worker {instance} was stopped as idle, and reports to be busy");
            self.violated(what);
        }
    }

    /// Sends the newest orders on the streams.
    fn send_orders(&mut self) {
        let mut sent = Vec::new();
        for (instance, session) in &mut self.scaler.sessions {
            if session.orders.has_changed().unwrap_or(false)
                && let Some(order) = *session.orders.borrow_and_update()
            {
                sent.push((*instance, order));
            }
        }
        for (instance, order) in sent {
            let arrives = self.now + self.latency();
            let Some(session) = self.scaler.sessions.get_mut(&instance) else {
                continue;
            };
            let arrives = arrives.max(session.last_arrives);
            session.last_arrives = arrives;
            let event = Event::Worker {
                instance,
                life: session.life,
                step: WorkerStep::Order {
                    stream: session.stream,
                    order,
                },
            };
            self.event_queue.add(arrives, event);
        }
    }
}

pub fn name(instance: usize) -> InstanceId {
    InstanceId::from(id(instance))
}

pub fn index(id: &InstanceId) -> usize {
    let digits = id.as_str().trim_start_matches("i-");
    usize::from_str_radix(digits, 16).expect("plans name instances of the view")
}
