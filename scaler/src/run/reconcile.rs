//! The reconciler: observes, plans, executes, and repeats when something changes.

mod polls;

use std::sync::Arc;
use std::time::Duration;

use platform::aws::Aws;
use platform::fleet::{Fleet, LONGEST_CALL};
use platform::queue::{Queue, QueueError};
use platform::shutdown::{CancellationToken, bounded};
use tokio::sync::{mpsc, watch};

use super::learned::{LearnedSchedule, LearnedTimes};
use polls::{PollResult, count, describe};

use crate::clock::Clock;
use crate::decision_log::stats::Stats;
use crate::decision_log::{ActivePolicy, Decision, DecisionLog, Estimated, Totals, decide};
use crate::execute::{ExecutionEvent, Executor, Outcome};
use crate::fleet::ledger::Ledger;
use crate::fleet::polling::PollTimer;
use crate::fleet::{FleetToken, FleetView, WorkerRegistry};
use crate::lease::Leadership;
use crate::metrics;
use crate::plan::pace::{GATHER, LONGEST_SLEEP, count_interval, describe_interval};
use crate::plan::{FrontDemand, Memory, Observation, Plan, Timestamp, Timestamped, may_discard};

/// How long calls to EC2 may take after the shutdown: one call at its longest, and a little more.
const SHUTDOWN_DEADLINE: Duration = LONGEST_CALL.saturating_add(Duration::from_secs(1));

/// What the reconciler works with.
#[derive(Debug)]
pub struct Reconciler {
    pub clock: Clock,
    pub active: watch::Receiver<ActivePolicy>,
    /// The normal polling interval of EC2 and the queue.
    pub tick: Duration,
    pub aws: Aws,
    pub request_queue: String,
    pub fleet: Fleet,
    pub fleet_token: FleetToken,
    pub registry: WorkerRegistry,
    pub demand: watch::Receiver<Option<Timestamped<FrontDemand>>>,
    pub executor: Executor,
    pub outcomes: mpsc::Receiver<Outcome>,
    pub log: DecisionLog,
    pub leadership: Leadership,
    pub learned: LearnedTimes,
    /// Set once EC2 has replied.
    pub ready: watch::Sender<bool>,
}

struct Loop {
    parts: Reconciler,
    view: FleetView,
    memory: Memory,
    /// How many decisions were made.
    decisions: u64,
    stats: Stats,
    totals: Totals,
    describe: PollTimer,
    count: PollTimer,
    learning: LearnedSchedule,
    /// `None` until the queue exists.
    queue: Option<Queue>,
    polled: mpsc::Sender<PollResult>,
    wake_at: Timestamp,
}

impl Reconciler {
    /// Reconciles until `shutdown`. Workers keep running: the next scaler takes them over. Returns whether all calls to EC2
    /// have ended.
    pub async fn run(self, shutdown: CancellationToken) -> bool {
        let (polled, polls) = mpsc::channel(16);
        let ledger = Ledger::open(self.active.borrow().policy.prices, self.clock.now());
        let reconciling = Loop {
            view: FleetView::new(self.demand.clone(), self.registry.clone(), ledger),
            memory: Memory::default(),
            decisions: 0,
            stats: Stats::default(),
            totals: Totals::default(),
            describe: PollTimer::every(self.tick),
            count: PollTimer::every(self.tick),
            learning: LearnedSchedule::default(),
            queue: None,
            polled,
            wake_at: Timestamp::default(),
            parts: self,
        };
        reconciling.run(polls, shutdown).await
    }
}

impl Loop {
    async fn run(
        mut self,
        mut polls: mpsc::Receiver<PollResult>,
        shutdown: CancellationToken,
    ) -> bool {
        while !shutdown.is_cancelled() {
            let standing_by = self.note_leadership();
            self.poll();
            self.decide(standing_by);
            let wake_at = self.parts.clock.instant(self.wake_at);
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.parts.demand.changed() => if changed.is_err() { break },
                () = self.parts.registry.changed() => {}
                changed = self.parts.active.changed() => if changed.is_err() { break },
                () = self.parts.leadership.changed() => {}
                Some(outcome) = self.parts.outcomes.recv() => self.finish(outcome),
                Some(polled) = polls.recv() => self.take(polled),
                () = tokio::time::sleep_until(wake_at) => continue,
            }
            tokio::time::sleep(GATHER).await;
            while let Ok(outcome) = self.parts.outcomes.try_recv() {
                self.finish(outcome);
            }
            while let Ok(polled) = polls.try_recv() {
                self.take(polled);
            }
            self.parts.demand.mark_unchanged();
        }
        let closing = bounded(
            "scaler",
            &shutdown,
            SHUTDOWN_DEADLINE,
            self.parts.executor.close(),
        );
        tokio::join!(closing, self.keep_learned()).0.is_some()
    }

    /// Returns why this scaler must not act. When it begins to lead, it lists the fleet at once: only a list that it asked
    /// for as the leader shows what the former leader did last.
    fn note_leadership(&mut self) -> Option<String> {
        let now = self.parts.clock.now();
        let standing_by = self.parts.leadership.standing_by(now);
        if standing_by.is_some() {
            self.view.leads_since = None;
        } else if self.view.leads_since.is_none() {
            self.view.leads_since = Some(now);
            self.describe.hurry();
            if let Some(at) = self.parts.leadership.launches_from() {
                tracing::info!(
                    "the former leader did not release the lease: launches wait until its last one is listed"
                );
                self.parts.executor.hold_launches(at);
            }
        }
        standing_by
    }

    fn decide(&mut self, standing_by: Option<String>) {
        // Its lines, and those of the calls that it leads to, have the number of the decision.
        let deciding = tracing::error_span!("decision", sequence = self.decisions + 1);
        let _deciding = deciding.enter();
        let now = self.parts.clock.now();
        let observation = self.observe(now);
        let active = self.parts.active.borrow_and_update().clone();
        let (before, why) = (self.memory.clone(), standing_by.as_deref());
        let plan = decide(&active.policy, &observation, why, &mut self.memory);
        if standing_by.is_none() {
            self.parts.executor.execute(&plan, &mut self.view, now);
            if may_discard(&active.policy, &observation) {
                self.parts.executor.discard(&mut self.view, now);
            }
        }
        self.learn(standing_by.is_none(), now);
        self.schedule_next(&plan, now);
        self.publish(active, observation, plan, before, standing_by);
    }

    fn observe(&mut self, now: Timestamp) -> Observation {
        if self.view.launch.is_none() {
            let launch = self.parts.executor.launch_fingerprint();
            self.view.launch = launch.map(str::to_owned);
        }
        let mut observation = self.view.observe(now, self.parts.executor.call_backoff());
        observation.wall_clock = Some(self.parts.clock.wall());
        for duration in self.view.take_boot_times() {
            metrics::boot_time(duration);
        }
        observation
    }

    /// Begins to read what was learned before, or to write what was learned since, where that is due.
    fn learn(&mut self, leads: bool, now: Timestamp) {
        let (store, polled) = (self.parts.learned.clone(), self.polled.clone());
        if self.learning.is_read_due(leads, now) {
            self.learning.reads(now);
            tokio::spawn(async move {
                let learned = PollResult::Learned(store.read().await);
                drop(polled.send(learned).await);
            });
        } else if leads && let Some(times) = self.learning.next_write(&self.memory.estimates, now) {
            tokio::spawn(async move {
                let written = store.write(times, now).await;
                drop(
                    polled
                        .send(PollResult::Kept(written.then_some(times)))
                        .await,
                );
            });
        }
    }

    /// Writes what was learned, before another scaler leads.
    async fn keep_learned(&self) {
        let last = self.learning.last_write(&self.memory.estimates);
        if let (Some(times), true) = (last, self.parts.leadership.leads()) {
            self.parts
                .learned
                .write(times, self.parts.clock.now())
                .await;
        }
    }

    fn schedule_next(&mut self, plan: &Plan, now: Timestamp) {
        // Observed again, because what was just ordered counts.
        let after = self.observe(now);
        self.describe
            .set(describe_interval(&after, self.parts.tick));
        self.count.set(count_interval(&after, self.parts.tick));
        // A change shows its effect soon, so that the status does not lag behind.
        let effect_at = plan.changes_something().then(|| now.after(GATHER));
        let due = [
            self.describe.due_at(),
            self.count.due_at(),
            plan.wake_at,
            effect_at,
        ];
        let next = due.into_iter().flatten().min();
        let latest = now.after(LONGEST_SLEEP);
        self.wake_at = next
            .map_or(latest, |next| next.min(latest))
            .max(now.after(Duration::from_millis(1)));
    }

    fn publish(
        &mut self,
        active: ActivePolicy,
        observation: Observation,
        plan: Plan,
        before: Memory,
        standing_by: Option<String>,
    ) {
        if let Some(finished) = self.stats.note(&observation, &plan) {
            metrics::busy_period(&finished);
        }
        if plan.changes_something() {
            tracing::info!(
                desired = plan.desired_workers,
                start = plan.start.len(),
                launch = plan.launch,
                cordon = plan.cordon.len(),
                uncordon = plan.uncordon.len(),
                stop = plan.stop.len(),
                reason = plan.reason,
                "decided"
            );
        }
        self.decisions += 1;
        self.totals.busy_workers_stopped = self.parts.registry.busy_workers_stopped();
        let estimates = &self.memory.estimates;
        let decision = Decision {
            sequence: self.decisions,
            active,
            estimates: Estimated {
                service: estimates.service,
                boot: estimates.boot,
                frame: estimates.frame,
                arrivals: estimates.arrivals(observation.now),
            },
            observation,
            plan,
            totals: self.totals,
            stats: self.stats,
            before: Some(Arc::new(before)),
            standing_by,
        };
        metrics::decided(&decision);
        self.parts.log.publish(decision);
    }

    fn finish(&mut self, outcome: Outcome) {
        let now = self.parts.clock.now();
        if outcome.has_failed() {
            self.describe.set(Duration::ZERO);
        }
        for event in self.parts.executor.finish(outcome, &mut self.view, now) {
            self.totals.record(&event);
            metrics::executed(&event);
        }
    }

    fn take(&mut self, polled: PollResult) {
        match polled {
            PollResult::Fleet(Ok(description), asked_at) => {
                self.describe.answered();
                self.view.terminated(&description.terminated);
                self.view.described(description.instances, asked_at);
                self.view.described_in = self.parts.clock.now().since(asked_at);
                self.parts
                    .ready
                    .send_if_modified(|ready| !std::mem::replace(ready, true));
            }
            PollResult::Fleet(Err(error), _) => {
                tracing::warn!(%error, "EC2's instances cannot be listed");
                let call = "DescribeInstances";
                metrics::executed(&ExecutionEvent::CallFailed { call });
                self.describe.failed();
            }
            PollResult::Learned(learned) => {
                self.learning.read(learned);
                self.view.learned = learned;
            }
            PollResult::Kept(times) => self.learning.wrote(times),
            PollResult::Queue(Ok((queue, value)), at) => {
                self.count.answered();
                self.queue = Some(queue);
                self.view.queue = Some(Timestamped { value, at });
            }
            PollResult::Queue(Err(QueueError::NotFound(name)), _) => {
                tracing::debug!(queue = name, "the queue does not exist yet");
                self.count.answered();
            }
            PollResult::Queue(Err(error), _) => {
                tracing::warn!(%error, "the queue's counters cannot be read");
                // A queue that was deleted and created again has another URL.
                self.queue = None;
                self.count.failed();
            }
        }
    }

    /// Polls EC2 and the queue where due.
    fn poll(&mut self) {
        let now = self.parts.clock.now();
        if self.describe.due_at().is_some_and(|due| due <= now) {
            self.describe.asked(now);
            let (fleet, polled) = (self.parts.fleet.clone(), self.polled.clone());
            let overdue = self.view.overdue(now);
            // Nothing is started before the first description. Without the token, outdated instances are not recognized, and
            // would be started. Without the learned times, too many would be.
            let first = self.view.is_new();
            let token =
                (first && self.view.launch.is_none()).then(|| self.parts.fleet_token.clone());
            let learned = first.then(|| self.parts.learned.clone());
            if first {
                self.learning.reads(now);
            }
            tokio::spawn(async move {
                let learned = async {
                    if let Some(learned) = learned {
                        drop(polled.send(PollResult::Learned(learned.read().await)).await);
                    }
                };
                let token = async {
                    if let Some(token) = token {
                        token.known().await;
                    }
                };
                let (described, (), ()) = tokio::join!(describe(&fleet, &overdue), learned, token);
                drop(polled.send(PollResult::Fleet(described, now)).await);
            });
        }
        if self.count.due_at().is_some_and(|due| due <= now) {
            self.count.asked(now);
            let (aws, name) = (self.parts.aws.clone(), self.parts.request_queue.clone());
            let (queue, polled) = (self.queue.clone(), self.polled.clone());
            tokio::spawn(async move {
                let counted = count(&aws, &name, queue).await;
                drop(polled.send(PollResult::Queue(counted, now)).await);
            });
        }
    }
}
