//! The decision: which instances to start, launch, cordon, call back and stop, given what is known.
//!
//! [`plan`] is a pure function. It reads no clock and does no I/O, and leaves no choices to whoever executes its
//! [`Plan`]. What it has to remember from one call to the next is its [`Memory`].

mod demand;
mod model;
mod moves;
mod policy;
mod reason;
mod step;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use model::{
    Counters, FailedBoots, FrontDemand, Held, Instance, InstanceId, Moment, Observation, Seen,
    State,
};
use moves::Moves;
pub use policy::{Bounds, Patience, Policy, PolicyKind};

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
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Moment>,
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
}

/// What one call of [`plan`] leaves for the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
}

/// How many workers a policy wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    desired: u32,
    scale_in: ScaleIn,
    wake_at: Option<Moment>,
}

/// Which of the workers beyond the desired number go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScaleIn {
    /// None.
    Hold,
    /// Those that have been idle for the idle time.
    Idle,
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
    let target = match policy.kind {
        PolicyKind::Step => step::target(policy, observation, &assessment),
    };
    if observation.described_at.is_none() {
        let reason = "EC2 has not told yet which instances there are".to_owned();
        let desired_workers = target.desired;
        return (
            Plan {
                desired_workers,
                reason,
                ..Plan::default()
            },
            memory,
        );
    }
    let mut plan = Moves::new(policy, observation, &memory, target).plan();
    plan.reason = reason::sentence(policy, observation, &assessment, &plan);
    (plan, memory)
}

impl Plan {
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
}
