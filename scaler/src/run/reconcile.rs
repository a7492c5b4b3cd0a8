//! The reconciler: observes, plans, executes, and repeats when something changes.

use std::sync::Arc;
use std::time::Duration;

use platform::aws::Aws;
use platform::fleet::{Fleet, FleetError, FleetInstance, LONGEST_CALL};
use platform::queue::{Queue, QueueError};
use platform::shutdown::{CancellationToken, bounded};
use proto::names::WORKER_INSTANCE;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::decision_log::stats::Stats;
use crate::decision_log::{ActivePolicy, Decision, DecisionLog, Estimated, Totals, stand_by};
use crate::execute::{Event, Executor, Outcome};
use crate::fleet::ledger::Ledger;
use crate::fleet::polling::PollTimer;
use crate::fleet::{FleetToken, FleetView, WorkerRegistry};
use crate::lease::Leadership;
use crate::metrics;
use crate::plan::pace::{count_interval, describe_interval};
use crate::plan::{
    Counters, FrontDemand, InstanceId, Memory, Observation, Plan, Seen, Timestamp, may_discard,
    plan,
};

/// How long to gather further changes after the first one before a decision: requests that arrive together get their
/// workers in one call.
const GATHER: Duration = Duration::from_millis(20);
/// The longest time between two decisions.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
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
    pub demand: watch::Receiver<Option<Seen<FrontDemand>>>,
    pub executor: Executor,
    pub outcomes: mpsc::Receiver<Outcome>,
    pub log: DecisionLog,
    pub leadership: Leadership,
    /// Set once EC2 has replied.
    pub ready: watch::Sender<bool>,
}

/// The result of a poll, and when it was sent.
enum Polled {
    Fleet(Result<Description, FleetError>, Timestamp),
    Queue(Result<(Queue, Counters), QueueError>, Timestamp),
}

/// EC2's description of the fleet.
struct Description {
    instances: Vec<FleetInstance>,
    /// Those of the overdue instances that were terminated.
    terminated: Vec<InstanceId>,
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
    /// `None` until the queue exists.
    queue: Option<Queue>,
    polled: mpsc::Sender<Polled>,
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
            queue: None,
            polled,
            wake_at: Timestamp::default(),
            parts: self,
        };
        reconciling.run(polls, shutdown).await
    }
}

impl Loop {
    async fn run(mut self, mut polls: mpsc::Receiver<Polled>, shutdown: CancellationToken) -> bool {
        while !shutdown.is_cancelled() {
            self.poll();
            self.decide();
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
        bounded(
            "scaler",
            &shutdown,
            SHUTDOWN_DEADLINE,
            self.parts.executor.close(),
        )
        .await
        .is_some()
    }

    fn decide(&mut self) {
        // Its lines, and those of the calls that it leads to, have the number of the decision.
        let deciding = tracing::error_span!("decision", sequence = self.decisions + 1);
        let _deciding = deciding.enter();
        let now = self.parts.clock.now();
        let observation = self.observe(now);
        let active = self.parts.active.borrow_and_update().clone();
        let before = std::mem::take(&mut self.memory);
        let standing_by = self.parts.leadership.standing_by(now);
        let (plan, memory) = match &standing_by {
            Some(why) => stand_by(why, before.clone()),
            None => plan(&active.policy, &observation, before.clone()),
        };
        self.memory = memory;
        if standing_by.is_none() {
            self.parts.executor.execute(&plan, &mut self.view, now);
            if may_discard(&active.policy, &observation) {
                self.parts.executor.discard(&mut self.view, now);
            }
        }
        self.schedule_next(&plan, now);
        self.publish(active, observation, plan, before, standing_by);
    }

    fn observe(&mut self, now: Timestamp) -> Observation {
        if self.view.launch.is_none() {
            let launch = self.parts.executor.launch_fingerprint();
            self.view.launch = launch.map(str::to_owned);
        }
        let observation = self.view.observe(now, self.parts.executor.call_backoff());
        for duration in self.view.take_boot_times() {
            metrics::boot_time(duration);
        }
        observation
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

    fn take(&mut self, polled: Polled) {
        match polled {
            Polled::Fleet(Ok(description), asked_at) => {
                self.describe.answered();
                self.view.terminated(&description.terminated);
                self.view.described(description.instances, asked_at);
                self.parts
                    .ready
                    .send_if_modified(|ready| !std::mem::replace(ready, true));
            }
            Polled::Fleet(Err(error), _) => {
                tracing::warn!(%error, "EC2's instances cannot be listed");
                let call = "DescribeInstances";
                metrics::executed(&Event::CallFailed { call });
                self.describe.failed();
            }
            Polled::Queue(Ok((queue, value)), at) => {
                self.count.answered();
                self.queue = Some(queue);
                self.view.queue = Some(Seen { value, at });
            }
            Polled::Queue(Err(QueueError::NotFound(name)), _) => {
                tracing::debug!(queue = name, "the queue does not exist yet");
                self.count.answered();
            }
            Polled::Queue(Err(error), _) => {
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
            // Without the token, outdated instances are not recognized, and would be started.
            let token = self.view.launch.is_none() && self.view.is_new();
            let token = token.then(|| self.parts.fleet_token.clone());
            tokio::spawn(async move {
                let described = describe(&fleet, &overdue).await;
                if let Some(token) = token {
                    token.known().await;
                }
                drop(polled.send(Polled::Fleet(described, now)).await);
            });
        }
        if self.count.due_at().is_some_and(|due| due <= now) {
            self.count.asked(now);
            let (aws, name) = (self.parts.aws.clone(), self.parts.request_queue.clone());
            let (queue, polled) = (self.queue.clone(), self.polled.clone());
            tokio::spawn(async move {
                let counted = count(&aws, &name, queue).await;
                drop(polled.send(Polled::Queue(counted, now)).await);
            });
        }
    }
}

async fn describe(fleet: &Fleet, overdue: &[InstanceId]) -> Result<Description, FleetError> {
    let instances = fleet.find(&format!("{WORKER_INSTANCE}*")).await?;
    let terminated = if overdue.is_empty() {
        Vec::new()
    } else {
        let ids: Vec<_> = overdue.iter().map(ToString::to_string).collect();
        fleet.terminated(&ids).await?
    };
    Ok(Description {
        instances,
        terminated: terminated.iter().map(|id| id.as_str().into()).collect(),
    })
}

async fn count(
    aws: &Aws,
    name: &str,
    queue: Option<Queue>,
) -> Result<(Queue, Counters), QueueError> {
    let queue = match queue {
        Some(queue) => queue,
        None => aws.queue(name).await?,
    };
    let counters = queue.counters().await?;
    let (visible, in_flight) = (counters.visible, counters.in_flight);
    Ok((
        queue,
        Counters {
            visible,
            in_flight,
            delayed: counters.delayed,
        },
    ))
}
