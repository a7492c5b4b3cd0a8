//! Carries out a plan: orders to workers at once, calls to EC2 in the background.

mod backoff;
mod launch;
mod license;
mod limits;
mod outcome;
mod places;
mod start;
mod stop;
#[cfg(test)]
mod tests;

use backoff::Backoff;
use futures::StreamExt;
use launch::UnsureLaunch;
use license::License;
pub use limits::RequestLimits;
use limits::{Action, Limits};
use outcome::Call;
pub use outcome::Outcome;
pub use places::{Place, Places};
use platform::fleet::{Fleet, FleetError, LaunchSpec};
use proto::names::worker_instance;
use start::StartSize;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::attend::Attendance;
use crate::fleet_token::FleetToken;
use crate::lease::Leadership;
use crate::observe::World;
use crate::plan::{CallBackoff, InstanceId, Plan, Timestamp};

/// How many calls that concern one instance each are made at a time.
const CALLS_AT_ONCE: usize = 4;

/// Carries out plans, and learns from EC2's refusals.
#[derive(Debug)]
pub struct Executor {
    fleet: Fleet,
    spec: LaunchSpec,
    places: Places,
    attendance: Attendance,
    outcomes: mpsc::Sender<Outcome>,
    calls: TaskTracker,
    /// Absent: it always leads.
    leadership: Option<Leadership>,
    /// Absent: the user data holds none.
    fleet_token: Option<FleetToken>,
    totals: Totals,
    start: Backoff,
    launch: Backoff,
    stop: Backoff,
    rename: Backoff,
    discard: Backoff,
    limits: Limits,
    start_size: StartSize,
    unsure_launches: Vec<UnsureLaunch>,
    /// Until when launches wait for news of such a one.
    launch_waits_until: Option<Timestamp>,
}

/// How to call EC2.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What to launch; type and subnet are the first place's.
    pub launch: LaunchSpec,
    /// Where to launch if not there, in order of preference.
    pub fallbacks: Vec<Place>,
    pub request_limits: RequestLimits,
}

impl From<LaunchSpec> for Settings {
    /// Launches this and nothing else, within AWS's limits.
    fn from(launch: LaunchSpec) -> Self {
        Self {
            launch,
            fallbacks: Vec::new(),
            request_limits: RequestLimits::Aws(1.0),
        }
    }
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
    /// Those of them whose worker never attended.
    pub never_attended_stopped: u64,
    /// Instances that were terminated: spot instances, and those that failed to boot again and again.
    pub terminated: u64,
    /// When EC2 was first asked to start or launch an instance, and did.
    pub first_start_at: Option<Timestamp>,
}

impl Executor {
    /// `outcomes` receives what becomes of each call, for [`Executor::finish`].
    #[must_use]
    pub fn new(
        fleet: Fleet,
        settings: Settings,
        attendance: Attendance,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Self {
        let spec = settings.launch;
        let mut places = vec![Place {
            instance_type: spec.instance_type.clone(),
            subnet_id: spec.subnet_id.clone(),
        }];
        places.extend(settings.fallbacks);
        Self {
            fleet,
            spec,
            places: Places::new(places),
            attendance,
            outcomes,
            calls: TaskTracker::new(),
            leadership: None,
            fleet_token: None,
            totals: Totals::default(),
            start: Backoff::default(),
            launch: Backoff::default(),
            stop: Backoff::default(),
            rename: Backoff::default(),
            discard: Backoff::default(),
            limits: Limits::new(settings.request_limits),
            start_size: StartSize::default(),
            unsure_launches: Vec::new(),
            launch_waits_until: None,
        }
    }

    /// Carries out a plan that was made at `now`; `world` reflects its effects at once.
    pub fn execute(&mut self, plan: &Plan, world: &mut World, now: Timestamp) {
        self.limits.refill(now);
        for id in &plan.cordon {
            self.attendance.cordon(id);
        }
        for id in &plan.uncordon {
            self.attendance.uncordon(id);
        }
        if !plan.start.is_empty() {
            self.start_instances(&plan.start, world, now);
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

    /// Terminates stopped instances whose boots have failed again and again. No plan asks for it, so it is for whoever calls
    /// to know that it is right now: see [`crate::plan::may_discard`].
    pub fn discard(&mut self, world: &mut World, now: Timestamp) {
        self.limits.refill(now);
        self.discard_instances(world, now);
    }

    /// Until when calls are held back.
    #[must_use]
    pub fn held(&self) -> CallBackoff {
        let held = |action| self.limits.held_until(action);
        CallBackoff {
            start: self.start.until().max(held(Action::Start)),
            launch: self
                .launch
                .until()
                .max(held(Action::Launch))
                .max(self.launch_waits_until),
            stop: self
                .stop
                .until()
                .max(held(Action::Stop))
                .max(held(Action::Terminate)),
            rename: self.rename.until().max(held(Action::Rename)),
        }
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            busy_workers_stopped: self.attendance.busy_workers_stopped(),
            ..self.totals
        }
    }

    /// Lets it act only while `leadership` is this scaler's.
    #[must_use]
    pub fn under(mut self, leadership: Leadership) -> Self {
        self.leadership = Some(leadership);
        self
    }

    /// Puts the token into the user data of the instances that it launches. Until the token is known it launches none.
    #[must_use]
    pub fn handing_out(mut self, fleet_token: FleetToken) -> Self {
        self.fleet_token = Some(fleet_token);
        self
    }

    /// Waits for the calls under way. Orders that take several calls are cut short.
    pub async fn close(&self) {
        self.calls.close();
        self.calls.wait().await;
    }

    fn rename_instances(
        &mut self,
        renames: &[(InstanceId, u32)],
        world: &mut World,
        now: Timestamp,
    ) {
        let wanted = u32::try_from(renames.len()).unwrap_or(u32::MAX);
        // Each is a call of its own. The plan asks for the others again.
        let calls = self.limits.take_calls(Action::Rename, wanted, now);
        let renames = &renames[..calls as usize];
        for (id, number) in renames {
            world.renamed(id, *number, now);
        }
        let (fleet, outcomes, renames) =
            (self.fleet.clone(), self.outcomes.clone(), renames.to_vec());
        let license = self.license();
        self.calls.spawn(async move {
            let calls = futures::stream::iter(renames).map(|(id, number)| {
                let (fleet, license) = (&fleet, &license);
                async move {
                    let error = if license.holds() {
                        let name = worker_instance(number);
                        fleet.set_name(id.as_str(), &name).await.err()
                    } else {
                        Some(license::expired())
                    };
                    Outcome {
                        call: Call::Rename { id, number },
                        asked_at: now,
                        error,
                        further_calls: 0,
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

    fn license(&self) -> License {
        License::new(self.leadership.clone(), self.calls.clone())
    }

    fn spawn(
        &self,
        asked_at: Timestamp,
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
                        further_calls: 0,
                    })
                    .await,
            );
        });
    }
}

fn texts(ids: &[InstanceId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
