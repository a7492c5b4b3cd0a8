//! The loop: observe, plan, execute, and again when something happens.

use std::sync::Arc;
use std::time::Duration;

use platform::aws::Aws;
use platform::fleet::{Fleet, FleetError, FleetInstance, LONGEST_CALL};
use platform::queue::{Queue, QueueError};
use platform::shutdown::{CancellationToken, bounded};
use proto::names::WORKER_INSTANCE;
use tokio::sync::{mpsc, watch};

use crate::attend::Attendance;
use crate::board::{Board, Decision, Estimated, Settings};
use crate::clock::Clock;
use crate::execute::{Executor, Outcome};
use crate::lease::Leadership;
use crate::metric;
use crate::observe::World;
use crate::observe::ledger::Ledger;
use crate::observe::pace::{Pace, count_interval, describe_interval};
use crate::plan::{
    Counters, FrontDemand, InstanceId, Memory, Observation, Plan, Seen, Timestamp, may_discard,
    plan,
};
use crate::standby::stand_by;
use crate::tally::Tally;

/// After the first piece of news, for how long more of it is gathered before a decision: requests that come together
/// get their workers in one call.
const GATHER: Duration = Duration::from_millis(20);
/// The loop plans at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long calls to EC2 may take after the shutdown: as long as one takes at most, and a little more.
const SHUTDOWN_DEADLINE: Duration = LONGEST_CALL.saturating_add(Duration::from_secs(1));

/// What the loop stands on.
#[derive(Debug)]
pub struct Reconciler {
    pub clock: Clock,
    /// The policy in force.
    pub settings: watch::Receiver<Settings>,
    /// How often EC2 and the queue are asked in the ordinary.
    pub tick: Duration,
    pub aws: Aws,
    pub request_queue: String,
    pub fleet: Fleet,
    pub attendance: Attendance,
    pub demand: watch::Receiver<Option<Seen<FrontDemand>>>,
    pub executor: Executor,
    pub outcomes: mpsc::Receiver<Outcome>,
    pub board: Board,
    pub leadership: Leadership,
    /// Set once EC2 has answered.
    pub ready: watch::Sender<bool>,
}

/// What a question was answered with.
enum Answer {
    Fleet(Result<Description, FleetError>, Timestamp),
    Queue(Result<(Queue, Counters), QueueError>, Timestamp),
}

/// What EC2 says about the fleet.
struct Description {
    instances: Vec<FleetInstance>,
    /// Those of the instances that were asked for which were terminated.
    terminated: Vec<InstanceId>,
}

struct Loop {
    parts: Reconciler,
    world: World,
    memory: Memory,
    /// How many decisions were made.
    decisions: u64,
    tally: Tally,
    describe: Pace,
    count: Pace,
    /// Absent until the queue exists.
    queue: Option<Queue>,
    answers: mpsc::Sender<Answer>,
    wake_at: Timestamp,
}

impl Reconciler {
    /// Reconciles until `shutdown`. Workers are left alone then: the next scaler takes them over. Answers whether all calls
    /// to EC2 have ended.
    pub async fn run(self, shutdown: CancellationToken) -> bool {
        let (answers, answered) = mpsc::channel(16);
        let prices = self.settings.borrow().policy.prices;
        let turning = Loop {
            world: World::new(self.demand.clone(), self.attendance.clone())
                .with(Ledger::open(prices, self.clock.now())),
            memory: Memory::default(),
            decisions: 0,
            tally: Tally::default(),
            describe: Pace::every(self.tick),
            count: Pace::every(self.tick),
            queue: None,
            answers,
            wake_at: Timestamp::default(),
            parts: self,
        };
        turning.run(answered, shutdown).await
    }
}

impl Loop {
    async fn run(
        mut self,
        mut answered: mpsc::Receiver<Answer>,
        shutdown: CancellationToken,
    ) -> bool {
        while !shutdown.is_cancelled() {
            self.ask();
            self.decide();
            let wake_at = self.parts.clock.instant(self.wake_at);
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.parts.demand.changed() => if changed.is_err() { break },
                () = self.parts.attendance.changed() => {}
                changed = self.parts.settings.changed() => if changed.is_err() { break },
                () = self.parts.leadership.changed() => {}
                Some(outcome) = self.parts.outcomes.recv() => self.finish(outcome),
                Some(answer) = answered.recv() => self.take(answer),
                () = tokio::time::sleep_until(wake_at) => continue,
            }
            tokio::time::sleep(GATHER).await;
            while let Ok(outcome) = self.parts.outcomes.try_recv() {
                self.finish(outcome);
            }
            while let Ok(answer) = answered.try_recv() {
                self.take(answer);
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
        let now = self.parts.clock.now();
        let observation = self.world.observe(now, self.parts.executor.held());
        let settings = self.parts.settings.borrow_and_update().clone();
        if let Some(why) = self.parts.leadership.standing_by(now) {
            return self.stand_by(settings, observation, why);
        }
        let before = std::mem::take(&mut self.memory);
        let (plan, memory) = plan(&settings.policy, &observation, before.clone());
        self.memory = memory;
        self.parts.executor.execute(&plan, &mut self.world, now);
        if may_discard(&settings.policy, &observation) {
            self.parts.executor.discard(&mut self.world, now);
        }
        self.set_pace(&plan, now);
        self.publish(settings, observation, plan, before, None);
    }

    /// Only looks on.
    fn stand_by(&mut self, settings: Settings, observation: Observation, why: String) {
        let before = std::mem::take(&mut self.memory);
        let (plan, memory) = stand_by(&why, before.clone());
        self.memory = memory;
        self.set_pace(&plan, observation.now);
        self.publish(settings, observation, plan, before, Some(why));
    }

    fn set_pace(&mut self, plan: &Plan, now: Timestamp) {
        // What was just ordered counts.
        let after = self.world.observe(now, self.parts.executor.held());
        self.describe
            .set(describe_interval(&after, self.parts.tick));
        self.count.set(count_interval(&after, self.parts.tick));
        // Soon after a change the effect is observed, so that the status does not lag behind.
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
        settings: Settings,
        observation: Observation,
        plan: Plan,
        before: Memory,
        standing_by: Option<String>,
    ) {
        if let Some(finished) = self.tally.note(&observation, &plan) {
            metric::busy_period(&finished);
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
        let estimates = &self.memory.estimates;
        let decision = Decision {
            sequence: self.decisions,
            settings,
            estimates: Estimated {
                service: estimates.service,
                boot: estimates.boot,
                arrivals: estimates.arrivals(observation.now),
            },
            observation,
            plan,
            totals: self.parts.executor.totals(),
            tally: self.tally,
            before: Some(Arc::new(before)),
            standing_by,
        };
        metric::decided(&decision);
        self.parts.board.publish(decision);
    }

    fn finish(&mut self, outcome: Outcome) {
        let now = self.parts.clock.now();
        if self.parts.executor.finish(outcome, &mut self.world, now) {
            self.describe.set(Duration::ZERO);
        }
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Fleet(Ok(description), asked_at) => {
                self.describe.answered();
                self.world.terminated(&description.terminated);
                self.world.described(description.instances, asked_at);
                self.parts
                    .ready
                    .send_if_modified(|ready| !std::mem::replace(ready, true));
            }
            Answer::Fleet(Err(error), _) => {
                tracing::warn!(%error, "EC2 did not tell which instances there are");
                metric::refused("DescribeInstances");
                self.describe.failed();
            }
            Answer::Queue(Ok((queue, value)), at) => {
                self.count.answered();
                self.queue = Some(queue);
                self.world.queue = Some(Seen { value, at });
            }
            Answer::Queue(Err(QueueError::NotFound(name)), _) => {
                tracing::debug!(queue = name, "the queue does not exist yet");
                self.count.answered();
            }
            Answer::Queue(Err(error), _) => {
                tracing::warn!(%error, "the queue's counters cannot be read");
                // It may have been deleted and created anew, then its address must be asked for again.
                self.queue = None;
                self.count.failed();
            }
        }
    }

    fn ask(&mut self) {
        let now = self.parts.clock.now();
        if self.describe.due_at().is_some_and(|due| due <= now) {
            self.describe.asked(now);
            let (fleet, answers) = (self.parts.fleet.clone(), self.answers.clone());
            let overdue = self.world.overdue(now);
            tokio::spawn(async move {
                let described = describe(&fleet, &overdue).await;
                drop(answers.send(Answer::Fleet(described, now)).await);
            });
        }
        if self.count.due_at().is_some_and(|due| due <= now) {
            self.count.asked(now);
            let (aws, name) = (self.parts.aws.clone(), self.parts.request_queue.clone());
            let (queue, answers) = (self.queue.clone(), self.answers.clone());
            tokio::spawn(async move {
                let counted = count(&aws, &name, queue).await;
                drop(answers.send(Answer::Queue(counted, now)).await);
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
