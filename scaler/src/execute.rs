//! Carries out plans: orders to workers at once, calls to EC2 in the background.
//!
//! [`Executor::execute`] begins the calls. Their outcomes come back over a channel, and [`Executor::finish`] turns each
//! into [`ExecutionEvent`]s for the decision log and the metrics.
//!
//! | module | what it does |
//! |---|---|
//! | `start`, `launch`, `stop` | one kind of call each |
//! | `call` | calls and how they ended, as the other modules share them |
//! | `start_size` | how many instances one call starts |
//! | `outcome` | what follows from the end of a call |
//! | `throttle` | keeps EC2's request limits from this side |
//! | `backoff` | waits after failures |
//! | `capacity_pools` | chooses instance type and subnet by what EC2 refused lately |
//! | `permit` | ends orders of several calls when the scaler no longer leads |

mod backoff;
mod call;
mod capacity_pools;
mod launch;
mod outcome;
mod permit;
mod start;
mod start_size;
mod stop;
#[cfg(test)]
mod tests;
mod throttle;

use backoff::Ec2Backoff;
use call::{Call, UnconfirmedLaunch};
pub use call::{ExecutionEvent, Outcome};
pub use capacity_pools::{CapacityPool, CapacityPools};
use futures::StreamExt;
use permit::ActingPermit;
use platform::fleet::{Fleet, FleetError, LaunchSpec};
use proto::names::worker_instance;
use start_size::StartSize;
pub use throttle::RequestLimits;
use throttle::{Action, Throttle};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::fleet::{FleetToken, FleetView};
use crate::lease::Leadership;
use crate::plan::{CallBackoff, InstanceId, Plan, RefusedCalls, Timestamp};

/// How many calls about one instance each are in flight at a time.
const CONCURRENT_CALLS: usize = 4;

/// Carries out plans, and learns from EC2's refusals.
#[derive(Debug)]
pub struct Executor {
    fleet: Fleet,
    spec: LaunchSpec,
    pools: CapacityPools,
    outcomes: mpsc::Sender<Outcome>,
    calls: TaskTracker,
    /// `None`: it always leads.
    leadership: Option<Leadership>,
    /// `None`: the user data holds no token.
    fleet_token: Option<FleetToken>,
    /// That of `spec` with the token, once it is known.
    fingerprint: Option<String>,
    start: Ec2Backoff,
    launch: Ec2Backoff,
    stop: Ec2Backoff,
    rename: Ec2Backoff,
    discard: Ec2Backoff,
    throttle: Throttle,
    start_size: StartSize,
    unconfirmed_launches: Vec<UnconfirmedLaunch>,
    /// Until when launches wait for the fleet's token, for an unconfirmed launch, or for those of a former leader.
    launch_waits_until: Option<Timestamp>,
}

/// How to call EC2.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// What to launch; instance type and subnet are the first capacity pool's.
    pub launch: LaunchSpec,
    /// The other capacity pools, in order of preference.
    pub fallbacks: Vec<CapacityPool>,
    pub request_limits: RequestLimits,
}

impl From<LaunchSpec> for ExecutorConfig {
    /// Launches only this, within AWS's limits.
    fn from(launch: LaunchSpec) -> Self {
        Self {
            launch,
            fallbacks: Vec::new(),
            request_limits: RequestLimits::Aws(1.0),
        }
    }
}

impl Executor {
    /// Creates an executor. `outcomes` receives the outcome of each call, for [`Executor::finish`].
    #[must_use]
    pub fn new(fleet: Fleet, config: ExecutorConfig, outcomes: mpsc::Sender<Outcome>) -> Self {
        let spec = config.launch;
        let mut pools = vec![CapacityPool {
            instance_type: spec.instance_type.clone(),
            subnet_id: spec.subnet_id.clone(),
        }];
        pools.extend(config.fallbacks);
        Self {
            fleet,
            spec,
            pools: CapacityPools::new(pools),
            outcomes,
            calls: TaskTracker::new(),
            leadership: None,
            fleet_token: None,
            fingerprint: None,
            start: Ec2Backoff::default(),
            launch: Ec2Backoff::default(),
            stop: Ec2Backoff::default(),
            rename: Ec2Backoff::default(),
            discard: Ec2Backoff::default(),
            throttle: Throttle::new(config.request_limits),
            start_size: StartSize::default(),
            unconfirmed_launches: Vec::new(),
            launch_waits_until: None,
        }
    }

    /// Acts only while this scaler leads.
    #[must_use]
    pub fn with_leadership(mut self, leadership: Leadership) -> Self {
        self.leadership = Some(leadership);
        self
    }

    /// Puts the token into the user data of launched instances, and launches none until it is known.
    #[must_use]
    pub fn with_fleet_token(mut self, fleet_token: FleetToken) -> Self {
        self.fleet_token = Some(fleet_token);
        self
    }

    /// Carries out a plan that was made at `now`. `view` shows its effects at once.
    pub fn execute(&mut self, plan: &Plan, view: &mut FleetView, now: Timestamp) {
        self.throttle.refill(now);
        view.order_workers(plan);
        if !plan.start.is_empty() {
            self.start_instances(&plan.start, view, now);
        }
        if plan.launch > 0 {
            self.launch_instances(plan.launch, view, now);
        }
        if !plan.stop.is_empty() {
            self.stop_instances(&plan.stop, view, now);
        }
        if !plan.rename.is_empty() {
            self.rename_instances(&plan.rename, view, now);
        }
    }

    /// Makes no launch before `until`.
    pub fn hold_launches(&mut self, until: Timestamp) {
        self.launch_waits_until = self.launch_waits_until.max(Some(until));
    }

    /// Terminates stopped instances that failed to boot too often. No plan orders this: call it only when
    /// [`crate::plan::may_discard`] allows it.
    pub fn discard(&mut self, view: &mut FleetView, now: Timestamp) {
        self.throttle.refill(now);
        self.discard_instances(view, now);
    }

    /// Returns until when calls of each kind are held back, and why the last ones failed.
    #[must_use]
    pub fn call_backoff(&self) -> CallBackoff {
        let held = |action| self.throttle.held_until(action);
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
            refused: RefusedCalls {
                start: self.start.refused(),
                launch: self.launch.refused(),
                stop: self.stop.refused(),
                rename: self.rename.refused(),
            },
        }
    }

    /// Returns the fingerprint of a launch today; `None` until the fleet's token is known.
    pub fn launch_fingerprint(&mut self) -> Option<&str> {
        if self.fingerprint.is_none() {
            let user_data = self.user_data()?;
            let spec = LaunchSpec {
                user_data,
                ..self.spec.clone()
            };
            self.fingerprint = Some(spec.fingerprint());
        }
        self.fingerprint.as_deref()
    }

    /// Waits for the calls in flight. Orders that take several calls are cut short.
    pub async fn close(&self) {
        self.calls.close();
        self.calls.wait().await;
    }

    fn rename_instances(
        &mut self,
        renames: &[(InstanceId, u32)],
        view: &mut FleetView,
        now: Timestamp,
    ) {
        let wanted = u32::try_from(renames.len()).unwrap_or(u32::MAX);
        // Each is a call of its own. The next plan asks for the rest again.
        let calls = self.throttle.take_calls(Action::Rename, wanted, now);
        let renames = &renames[..calls as usize];
        for (id, number) in renames {
            view.renamed(id, *number, now);
        }
        let (fleet, outcomes, renames) =
            (self.fleet.clone(), self.outcomes.clone(), renames.to_vec());
        let permit = self.permit();
        self.track(async move {
            let calls = futures::stream::iter(renames).map(|(id, number)| {
                let (fleet, permit) = (&fleet, &permit);
                async move {
                    let error = if permit.is_valid() {
                        let name = worker_instance(number);
                        fleet.set_name(id.as_str(), &name).await.err()
                    } else {
                        Some(permit::expired())
                    };
                    Outcome::new(Call::Rename { id, number }, now, error)
                }
            });
            let mut done = calls.buffer_unordered(CONCURRENT_CALLS);
            while let Some(outcome) = done.next().await {
                // The receiver is gone once the scaler shuts down.
                drop(outcomes.send(outcome).await);
            }
        });
    }

    /// Runs calls in the background. Their log lines have the number of the decision, as those of their outcomes.
    fn track(&self, calls: impl Future<Output = ()> + Send + 'static) {
        self.calls.spawn(calls.in_current_span());
    }

    fn permit(&self) -> ActingPermit {
        ActingPermit::new(self.leadership.clone(), self.calls.clone())
    }

    fn spawn(
        &self,
        asked_at: Timestamp,
        call: impl Future<Output = (Call, Option<FleetError>)> + Send + 'static,
    ) {
        let outcomes = self.outcomes.clone();
        self.track(async move {
            let (call, error) = call.await;
            // The receiver is gone once the scaler shuts down.
            drop(outcomes.send(Outcome::new(call, asked_at, error)).await);
        });
    }
}

fn texts(ids: &[InstanceId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
