//! Carries out a plan: orders to workers at once, calls to EC2 in the background.

mod backoff;
mod launch;
mod outcome;
mod stop;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use backoff::Backoff;
use futures::StreamExt;
use launch::UnsureLaunch;
use outcome::Call;
pub use outcome::Outcome;
use platform::fleet::{Fleet, FleetError, LaunchSpec};
use proto::names::worker_instance;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::attend::Attendance;
use crate::observe::World;
use crate::plan::{Held, InstanceId, Moment, Plan};

/// How many calls that concern one instance each are made at a time.
const CALLS_AT_ONCE: usize = 4;

/// Carries out plans, and learns from EC2's refusals.
#[derive(Debug)]
pub struct Executor {
    fleet: Fleet,
    spec: Arc<LaunchSpec>,
    attendance: Attendance,
    outcomes: mpsc::Sender<Outcome>,
    calls: TaskTracker,
    totals: Totals,
    start: Backoff,
    launch: Backoff,
    stop: Backoff,
    rename: Backoff,
    unsure_launch: Option<UnsureLaunch>,
}

/// What happened since the scaler started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub started: u64,
    pub launched: u64,
    pub stopped: u64,
    /// Workers that reported to be busy after they were ordered to stop as idle; see `muster.v1.Totals`.
    pub busy_workers_stopped: u64,
    /// Instances stopped because their worker fell silent or never attended; see `muster.v1.Totals`.
    pub silent_workers_stopped: u64,
    /// When EC2 was first asked to start or launch an instance, and did.
    pub first_start_at: Option<Moment>,
}

impl Executor {
    /// `outcomes` receives what becomes of each call, for [`Executor::finish`].
    #[must_use]
    pub fn new(
        fleet: Fleet,
        spec: LaunchSpec,
        attendance: Attendance,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Self {
        Self {
            fleet,
            spec: Arc::new(spec),
            attendance,
            outcomes,
            calls: TaskTracker::new(),
            totals: Totals::default(),
            start: Backoff::default(),
            launch: Backoff::default(),
            stop: Backoff::default(),
            rename: Backoff::default(),
            unsure_launch: None,
        }
    }

    /// Carries out a plan that was made at `now`; `world` reflects its effects at once.
    pub fn execute(&mut self, plan: &Plan, world: &mut World, now: Moment) {
        for id in &plan.cordon {
            self.attendance.cordon(id);
        }
        for id in &plan.uncordon {
            self.attendance.uncordon(id);
        }
        if !plan.start.is_empty() {
            self.start_instances(plan.start.clone(), world, now);
        }
        if plan.launch > 0 {
            self.launch_instances(plan.launch, world, now);
        }
        if !plan.stop.is_empty() {
            self.stop_instances(&plan.stop, world, now);
        }
        if !plan.rename.is_empty() {
            self.rename_instances(&plan.rename, world, now);
        }
    }

    /// Until when calls are held back.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            start: self.start.until(),
            launch: self.launch.until(),
            stop: self.stop.until(),
            rename: self.rename.until(),
        }
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            busy_workers_stopped: self.attendance.busy_workers_stopped(),
            ..self.totals
        }
    }

    /// Waits for the calls under way.
    pub async fn close(&self) {
        self.calls.close();
        self.calls.wait().await;
    }

    fn start_instances(&mut self, ids: Vec<InstanceId>, world: &mut World, now: Moment) {
        world.starting(&ids, now);
        let fleet = self.fleet.clone();
        self.spawn(now, async move {
            let error = fleet.start(&texts(&ids)).await.err();
            (Call::Start(ids), error)
        });
    }

    fn rename_instances(&mut self, renames: &[(InstanceId, u32)], world: &mut World, now: Moment) {
        for (id, number) in renames {
            world.renamed(id, *number, now);
        }
        let (fleet, outcomes, renames) =
            (self.fleet.clone(), self.outcomes.clone(), renames.to_vec());
        self.calls.spawn(async move {
            let calls = futures::stream::iter(renames).map(|(id, number)| {
                let fleet = &fleet;
                async move {
                    let error = fleet
                        .set_name(id.as_str(), &worker_instance(number))
                        .await
                        .err();
                    Outcome {
                        call: Call::Rename { id, number },
                        asked_at: now,
                        error,
                    }
                }
            });
            let mut done = calls.buffer_unordered(CALLS_AT_ONCE);
            while let Some(outcome) = done.next().await {
                // Nobody listens any more when the scaler shuts down.
                drop(outcomes.send(outcome).await);
            }
        });
    }

    fn spawn(
        &self,
        asked_at: Moment,
        call: impl Future<Output = (Call, Option<FleetError>)> + Send + 'static,
    ) {
        let outcomes = self.outcomes.clone();
        self.calls.spawn(async move {
            let (call, error) = call.await;
            // Nobody listens any more when the scaler shuts down.
            drop(
                outcomes
                    .send(Outcome {
                        call,
                        asked_at,
                        error,
                    })
                    .await,
            );
        });
    }
}

fn texts(ids: &[InstanceId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
