//! From demand to a number of workers.
//!
//! The published policies (`backlog`, `keda`, `hpa`, `kpa`) decide at intervals of their own, starting from the number of
//! workers that they wanted last. In between, that number stands, so planning again at the same time changes nothing.

mod backlog;
mod hpa;
mod keda;
mod kpa;
mod latency;
mod metric_history;
mod schedule;
mod step;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use latency::keep::SkiRental;

use crate::demand::{Assessment, ZeroDemand};
use crate::frames::{self, FrameDemand};
use crate::{
    Alternative, InstanceState, Memory, Observation, Policy, PolicyKind, Timestamp, WorkerLimits,
};

/// How many workers a policy wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Not yet within the limits.
    pub desired: u64,
    /// `desired` without the workers that are only kept because they are up.
    pub needed: u64,
    pub scale_in: ScaleIn,
    pub wake_at: Option<Timestamp>,
    pub rejected: Vec<Alternative>,
    pub completes_in: Option<Duration>,
    /// Frames of clips. Their workers are not in `desired`.
    pub frames: FrameDemand,
}

/// Which of the workers beyond the desired number are cordoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScaleIn {
    /// None.
    Hold,
    /// Those that have been idle for the idle time or the longest time to keep an idle worker, whichever is shorter.
    Idle,
    /// Idle workers whose billing minimum is used up, or that were idle for the longest time to keep an idle worker.
    Paid,
    /// All.
    AtOnce,
}

/// What a published policy remembers from one plan to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum PolicyState {
    /// The policy has not decided yet, or remembers nothing.
    #[default]
    Fresh,
    Backlog(backlog::BacklogState),
    Keda(keda::KedaState),
    Hpa(hpa::HpaState),
    Kpa(kpa::KpaState),
}

/// The facts that every policy except `latency` decides by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PolicyInput<'a> {
    policy: &'a Policy,
    observation: &'a Observation,
    now: Timestamp,
    limits: WorkerLimits,
    /// How long a worker is occupied by one request, in seconds.
    service: f64,
    /// Unanswered requests, including those in progress.
    demand: u64,
    /// Frames of clips, which are not in `demand`. Workers may be busy with them.
    frames: u64,
    scale_in: ScaleIn,
    settles_at: Option<Timestamp>,
}

/// Returns what the configured policy wants.
pub(crate) fn target(
    policy: &Policy,
    observation: &Observation,
    assessment: &Assessment,
    memory: &mut Memory,
) -> Target {
    if memory.policy_state.owner() != Some(policy.kind) {
        memory.policy_state = PolicyState::Fresh;
    }
    let mut target = if policy.kind == PolicyKind::Latency {
        latency::target(policy, observation, assessment, memory)
    } else if let Some(input) = PolicyInput::new(policy, observation, assessment, memory) {
        memory.policy_state.decide(&input)
    } else {
        let desired = memory.policy_state.desired();
        hold(desired.unwrap_or(observation.working().into()))
    };
    // Under every policy the limits change with the time of day.
    let time_of_day = observation.time_of_day();
    let limits_change_at = policy.next_window_edge(time_of_day);
    let limits_change_at =
        limits_change_at.map(|edge| observation.now.after(edge.since(time_of_day)));
    target.wake_at = target.wake_at.into_iter().chain(limits_change_at).min();
    target
}

/// The decision while the demand is unknown: nothing changes.
fn hold(desired: u64) -> Target {
    Target {
        desired,
        needed: desired,
        scale_in: ScaleIn::Hold,
        wake_at: None,
        rejected: Vec::new(),
        completes_in: None,
        frames: FrameDemand::default(),
    }
}

impl PolicyState {
    fn owner(&self) -> Option<PolicyKind> {
        match self {
            Self::Fresh => None,
            Self::Backlog(_) => Some(PolicyKind::BacklogPerInstance),
            Self::Keda(_) => Some(PolicyKind::Keda),
            Self::Hpa(_) => Some(PolicyKind::Hpa),
            Self::Kpa(_) => Some(PolicyKind::Kpa),
        }
    }

    /// Returns what a published policy wanted last.
    fn desired(&self) -> Option<u64> {
        match self {
            Self::Fresh => None,
            Self::Backlog(state) => Some(state.desired),
            Self::Keda(state) => Some(state.replicas.current),
            Self::Hpa(state) => Some(state.replicas.current),
            Self::Kpa(state) => Some(state.desired),
        }
    }

    fn decide(&mut self, input: &PolicyInput<'_>) -> Target {
        let kind = input.policy.kind;
        if matches!(self, Self::Fresh) {
            *self = match kind {
                PolicyKind::BacklogPerInstance => {
                    Self::Backlog(backlog::BacklogState::start(input))
                }
                PolicyKind::Keda => Self::Keda(keda::KedaState::start(input)),
                PolicyKind::Hpa => Self::Hpa(hpa::HpaState::start(input)),
                PolicyKind::Kpa => Self::Kpa(kpa::KpaState::start(input)),
                PolicyKind::Latency | PolicyKind::Step | PolicyKind::Schedule => Self::Fresh,
            };
        }
        match self {
            Self::Fresh if kind == PolicyKind::Schedule => schedule::target(input),
            Self::Fresh => step::target(input),
            Self::Backlog(state) => state.target(input),
            Self::Keda(state) => state.target(input),
            Self::Hpa(state) => state.target(input),
            Self::Kpa(state) => state.target(input),
        }
    }
}

impl<'a> PolicyInput<'a> {
    /// Absent while neither front nor the queue can be reached.
    fn new(
        policy: &'a Policy,
        observation: &'a Observation,
        assessment: &Assessment,
        memory: &Memory,
    ) -> Option<Self> {
        let working = u64::from(observation.working());
        let (demand, scale_in, settles_at) = match *assessment {
            Assessment::Exact(unanswered) => (unanswered, ScaleIn::AtOnce, None),
            Assessment::Zero(ZeroDemand::Settled) => (0, ScaleIn::AtOnce, None),
            Assessment::Zero(ZeroDemand::SettlesAt(at)) => (0, ScaleIn::Hold, Some(at)),
            Assessment::Zero(ZeroDemand::Unconfirmed) => (0, ScaleIn::Hold, None),
            Assessment::Zero(ZeroDemand::QueueUnreachable) => (0, ScaleIn::Idle, None),
            Assessment::Zero(leftover @ ZeroDemand::Leftover { .. }) => {
                (leftover.demand(working), ScaleIn::Idle, None)
            }
            Assessment::Estimated {
                messages: 0,
                empty_for_long: false,
            } => (0, ScaleIn::Hold, None),
            Assessment::Estimated { messages, .. } => (messages, ScaleIn::AtOnce, None),
            Assessment::Unknown => return None,
        };
        Some(Self {
            policy,
            observation,
            now: observation.now,
            limits: policy.limits(observation.time_of_day(), observation.billing.still_paid),
            service: memory.estimates.service_seconds(&policy.targets),
            demand,
            frames: frames::waiting(policy, observation),
            scale_in,
            settles_at,
        })
    }

    /// The number of workers to begin with: the present one.
    fn inherited(&self) -> u64 {
        self.clamp(self.observation.working().into())
    }

    /// The nearest number of workers within the limits.
    fn clamp(&self, workers: u64) -> u64 {
        self.limits.clamp(workers).into()
    }

    /// Workers that serve or wait for a request.
    fn ready(&self) -> u32 {
        self.observation.count(InstanceState::Idle) + self.observation.count(InstanceState::Busy)
    }

    /// Busy workers. While frames of clips wait, no more count than there are requests: the others have frames.
    fn busy_with_photos(&self) -> u32 {
        let busy = self.observation.count(InstanceState::Busy);
        match self.frames {
            0 => busy,
            _ => busy.min(u32::try_from(self.demand).unwrap_or(u32::MAX)),
        }
    }

    /// The decision; `wake_at` is when the policy decides next.
    fn target(
        &self,
        desired: u64,
        wake_at: Option<Timestamp>,
        rejected: Option<Alternative>,
    ) -> Target {
        Target {
            scale_in: self.scale_in,
            wake_at: self.settles_at.into_iter().chain(wake_at).min(),
            rejected: rejected.into_iter().collect(),
            ..hold(desired)
        }
    }

    /// A number of workers that was considered; absent where it is the one that was chosen.
    fn alternative(&self, desired: u64, considered: u64, against: &str) -> Option<Alternative> {
        let workers = self.limits.clamp(considered);
        (workers != self.limits.clamp(desired)).then(|| Alternative {
            workers,
            reason: against.to_owned(),
        })
    }
}
