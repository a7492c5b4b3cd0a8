use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lost::LostInstances;
use crate::plan_builder::PlanBuilder;
use crate::policies::{self, PolicyState, SkiRental};
use crate::{
    Estimates, Observation, Plan, Policy, PolicyKind, StopCause, Timestamp, demand, frames, reason,
};

/// The loop plans at least once a second. After a longer gap the scaler itself was held up, so that silence says nothing
/// about the workers.
const LONGEST_GAP: Duration = Duration::from_secs(4);

/// What one call of [`plan`] leaves for the next. A recording holds it as JSON; fields may be added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub(crate) planned_at: Option<Timestamp>,
    /// Since when the scaler has been planning without a gap.
    pub(crate) watching_since: Timestamp,
    /// Since when front has reported no unanswered request.
    pub(crate) zero_since: Option<Timestamp>,
    /// Since when the queue's counters have been empty while front was unreachable.
    pub(crate) empty_since: Option<Timestamp>,
    /// Since when there have been messages that no client waits for.
    pub(crate) leftover_since: Option<Timestamp>,
    /// What was measured.
    pub estimates: Estimates,
    /// What the latency policy keeps beyond what is needed.
    pub(crate) keeping: SkiRental,
    /// When most workers were last silent.
    pub(crate) most_silent_at: Option<Timestamp>,
    /// When workers were last stopped for their silence.
    pub(crate) gave_up_at: Option<Timestamp>,
    /// When workers were last added, other than for frames of clips alone.
    pub(crate) added_at: Option<Timestamp>,
    /// When workers were last added for frames of clips alone. It delays no scale-out for photos.
    pub(crate) added_for_frames_at: Option<Timestamp>,
    /// When workers were last cordoned.
    pub(crate) withdrawn_at: Option<Timestamp>,
    /// What the policy in use remembers.
    pub(crate) policy_state: PolicyState,
}

/// Decides what to do now.
///
/// Planning again right after the plan was executed changes nothing.
#[must_use]
pub fn plan(policy: &Policy, observation: &Observation, mut memory: Memory) -> (Plan, Memory) {
    memory.note_time(observation.now);
    let assessment = demand::assess(&policy.timeouts, observation, &mut memory);
    let watching_since = memory.watching_since;
    memory
        .estimates
        .note(&policy.targets, observation, watching_since);
    let lost = LostInstances::find(&policy.timeouts, observation, &memory);
    if lost.most_are_silent {
        memory.most_silent_at = Some(observation.now);
    }
    let rest = lost.without(observation);
    let rest = rest.as_ref().unwrap_or(observation);
    let mut target = policies::target(policy, rest, &assessment, &mut memory);
    let limits = policy.limits(observation.time_of_day(), observation.billing.still_paid);
    target.frames = frames::demand(policy, limits, rest, &memory);
    let frames = target.frames;
    let for_photos = limits.clamp(target.desired);
    let desired_workers = for_photos.max(frames.workers);
    if observation.described_at.is_none() {
        let reason = "EC2 has not yet listed the instances".to_owned();
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
    let mut plan = PlanBuilder::new(policy, limits, observation, &memory, lost, target).build();
    let estimates = (policy.kind == PolicyKind::Latency).then_some(&memory.estimates);
    plan.reason = reason::sentence(policy, observation, &assessment, frames, estimates, &plan);
    memory.note_plan(&plan, observation, for_photos);
    (plan, memory)
}

/// Returns whether instances that repeatedly fail to boot may be terminated. Not while the scaler is paused: an
/// operator may be looking at them. Not by an old description: another scaler may have started them since.
#[must_use]
pub fn may_discard(policy: &Policy, observation: &Observation) -> bool {
    policy.paused_by.is_none() && observation.fleet_is_fresh(&policy.timeouts)
}

impl Memory {
    /// Returns whether a plan can have left it. That of a damaged recording may differ.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.keeping.is_sound()
    }

    fn note_time(&mut self, now: Timestamp) {
        let unbroken = self
            .planned_at
            .is_some_and(|planned| now.since(planned) <= LONGEST_GAP);
        if !unbroken {
            self.watching_since = now;
        }
        self.planned_at = Some(now);
    }

    fn note_plan(&mut self, plan: &Plan, observation: &Observation, for_photos: u32) {
        let now = observation.now;
        // Launches for the warm pool do not count as scale-out.
        if plan.adds() && for_photos > observation.working() {
            self.added_at = Some(now);
        } else if plan.adds() && plan.desired_workers > observation.working() {
            self.added_for_frames_at = Some(now);
        }
        if !plan.cordon.is_empty() {
            self.withdrawn_at = Some(now);
        }
        if plan.stop.iter().any(|it| it.cause == StopCause::Silent) {
            self.gave_up_at = Some(now);
        }
    }
}
