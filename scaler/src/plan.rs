//! The decision: which instances to start, launch, cordon, call back and stop, given what is known.
//!
//! [`plan`] is a pure function. It reads no clock and does no I/O, and leaves no choices to whoever executes its
//! [`Plan`]. What it has to remember from one call to the next is its [`Memory`].

mod backlog;
mod demand;
mod estimate;
mod hpa;
mod keda;
mod kpa;
mod latency;
mod lost;
mod model;
mod moves;
mod policy;
mod published;
mod reason;
mod schedule;
mod step;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

pub use estimate::{Estimates, Rate, Smoothed};
use lost::Lost;
pub use model::{
    Billing, Counters, FailedBoots, FrontDemand, Held, Instance, InstanceId, Moment, Observation,
    Seen, State,
};
use moves::Moves;
pub use policy::{Bounds, Goal, KeepIdle, Limits, Patience, Policy, PolicyKind, Prices, Window};
use published::PolicyState;
use serde::{Deserialize, Serialize};

/// The loop plans at least once a second. After a longer gap than this the scaler itself was held up, and silence says
/// nothing about the workers.
const LONGEST_GAP: Duration = Duration::from_secs(4);

/// A decision, with nothing left to choose for whoever executes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub desired_workers: u32,
    /// Stopped instances to start, in one call.
    pub start: Vec<InstanceId>,
    /// How many instances to launch, in one call.
    pub launch: u32,
    pub cordon: Vec<InstanceId>,
    pub uncordon: Vec<InstanceId>,
    pub stop: Vec<Stop>,
    /// Instances to name by their number.
    pub rename: Vec<(InstanceId, u32)>,
    /// One sentence.
    pub reason: String,
    /// Other numbers of workers that were considered, and what speaks against each.
    pub rejected: Vec<Alternative>,
    /// When the requests that are waiting now are expected to be answered.
    pub completes_in: Option<Duration>,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Moment>,
}

/// A number of workers that was considered and rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    pub workers: u32,
    /// What speaks against it, as the end of a sentence that begins with the number.
    pub reason: String,
}

/// An instance to stop, and why that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub id: InstanceId,
    pub cause: StopCause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// Its worker confirmed that it is idle and takes no more work.
    Drained,
    /// Its worker has not reported for longer than the silence deadline.
    Silent,
    /// It has been running for longer than the boot deadline, and no worker ever reported.
    NeverAttended,
    /// EC2 has not got it to run within the boot deadline. Such a one can only be terminated.
    NeverStarted,
}

impl StopCause {
    /// Whether the start of the instance came to nothing.
    #[must_use]
    pub fn is_failed_boot(self) -> bool {
        matches!(self, Self::NeverAttended | Self::NeverStarted)
    }
}

/// What one call of [`plan`] leaves for the next. A recording holds it as JSON, which fields may be added to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    planned_at: Option<Moment>,
    /// Since when the scaler has been planning without a gap.
    watching_since: Moment,
    /// Since when front has said that no request is unanswered.
    zero_since: Option<Moment>,
    /// Since when the queue's counters have been empty while front was unreachable.
    empty_since: Option<Moment>,
    /// Since when messages have been waiting for which front waits no more.
    leftover_since: Option<Moment>,
    /// What was measured.
    pub estimates: Estimates,
    /// What the latency policy keeps beyond what is needed.
    keeping: latency::keep::Keeper,
    /// When most workers were last silent.
    most_silent_at: Option<Moment>,
    /// When workers were last stopped for their silence.
    gave_up_at: Option<Moment>,
    /// When workers were last added.
    added_at: Option<Moment>,
    /// When workers were last withdrawn.
    withdrawn_at: Option<Moment>,
    /// What the policy in use remembers.
    policy_state: PolicyState,
}

/// How many workers a policy wants.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// Not yet within the limits.
    desired: u64,
    /// Those of them that are not just kept because they are there.
    needed: u64,
    scale_in: ScaleIn,
    wake_at: Option<Moment>,
    rejected: Vec<Alternative>,
    completes_in: Option<Duration>,
}

/// Which of the workers beyond the desired number go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScaleIn {
    /// None.
    Hold,
    /// Those that have been idle for the idle time, or for as long as any may be kept.
    Idle,
    /// Those that wait for work, once the least that their start is billed for is used up, or they were idle for as long as
    /// any may be kept.
    Paid,
    /// All.
    AtOnce,
}

/// Decides what to do now.
///
/// Planning again right after the plan was executed changes nothing.
#[must_use]
pub fn plan(policy: &Policy, observation: &Observation, mut memory: Memory) -> (Plan, Memory) {
    memory.note_time(observation.now);
    let assessment = demand::assess(&policy.patience, observation, &mut memory);
    let watching_since = memory.watching_since;
    memory
        .estimates
        .note(&policy.goal, observation, watching_since);
    memory.policy_state.belong_to(policy.kind);
    let lost = Lost::find(&policy.patience, observation, &memory);
    if lost.most_are_silent {
        memory.most_silent_at = Some(observation.now);
    }
    let rest = lost.without(observation);
    let rest = rest.as_ref().unwrap_or(observation);
    let target = decide(policy, rest, &assessment, &mut memory);
    let limits = policy.limits(observation.now, observation.billing.still_paid);
    let desired_workers = limits.clamp(target.desired);
    if observation.described_at.is_none() {
        let reason = "EC2 has not told yet which instances there are".to_owned();
        return (
            Plan {
                desired_workers,
                reason,
                ..Plan::default()
            },
            memory,
        );
    }
    if let Some(by) = &policy.paused_by {
        return (Plan::paused(by, observation), memory);
    }
    let mut plan = Moves::new(policy, limits, observation, &memory, lost, target).plan();
    plan.reason = reason::sentence(limits, observation, &assessment, &plan);
    memory.note_plan(&plan, observation);
    (plan, memory)
}

/// Whether instances that fail to boot again and again may be terminated. Whoever paused the scaler may be looking at them,
/// and by an old description another one may have started them since.
#[must_use]
pub fn may_discard(policy: &Policy, observation: &Observation) -> bool {
    policy.paused_by.is_none() && observation.fleet_is_fresh(&policy.patience)
}

fn decide(
    policy: &Policy,
    observation: &Observation,
    assessment: &demand::Assessment,
    memory: &mut Memory,
) -> Target {
    let mut target = match policy.kind {
        PolicyKind::Latency => latency::target(policy, observation, assessment, memory),
        PolicyKind::Step => step::target(observation, assessment),
        PolicyKind::BacklogPerInstance => backlog::target(policy, observation, assessment, memory),
        PolicyKind::Keda => keda::target(policy, observation, assessment, memory),
        PolicyKind::Hpa => hpa::target(policy, observation, assessment, memory),
        PolicyKind::Kpa => kpa::target(policy, observation, assessment, memory),
        PolicyKind::Schedule => schedule::target(policy, observation, assessment),
    };
    // The limits change by the clock under every policy.
    let limits_change_at = policy.next_window_edge(observation.now);
    target.wake_at = target.wake_at.into_iter().chain(limits_change_at).min();
    target
}

impl Plan {
    /// Leaves everything as it is.
    fn paused(by: &str, observation: &Observation) -> Self {
        let there = observation.working();
        Self {
            desired_workers: there,
            reason: format!("paused by {by}, so {there} stay: nothing to do"),
            ..Self::default()
        }
    }

    /// Whether executing the plan adds workers.
    #[must_use]
    pub fn adds(&self) -> bool {
        self.launch > 0 || !(self.start.is_empty() && self.uncordon.is_empty())
    }

    /// Whether executing the plan does anything.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        self.launch > 0
            || !(self.start.is_empty()
                && self.cordon.is_empty()
                && self.uncordon.is_empty()
                && self.stop.is_empty()
                && self.rename.is_empty())
    }
}

impl Memory {
    fn note_time(&mut self, now: Moment) {
        let unbroken = self
            .planned_at
            .is_some_and(|planned| now.since(planned) <= LONGEST_GAP);
        if !unbroken {
            self.watching_since = now;
        }
        self.planned_at = Some(now);
    }

    fn note_plan(&mut self, plan: &Plan, observation: &Observation) {
        let now = observation.now;
        // What fills the warm pool is no answer to demand.
        if plan.adds() && plan.desired_workers > observation.working() {
            self.added_at = Some(now);
        }
        if !plan.cordon.is_empty() {
            self.withdrawn_at = Some(now);
        }
        if plan.stop.iter().any(|it| it.cause == StopCause::Silent) {
            self.gave_up_at = Some(now);
        }
    }
}
