//! Kubernetes' HorizontalPodAutoscaler with the defaults of `autoscaling/v2`.
//!
//! Source: "Horizontal Pod Autoscaling"
//! (<https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>), its sections on the algorithm, on
//! pods that are not yet ready, and on the default behaviour.
//!
//! A worker does one job at a time, so utilisation is the share of ready workers that are busy. It is averaged over the
//! time between two looks, as the processor time is that Kubernetes sees. The target is 80 %: that is what
//! `autoscaling/v2` sets when no metric is given
//! (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/>). As
//! utilisation cannot exceed 1, a saturated fleet grows by a quarter at a time. There is always one worker: without any
//! there is no utilisation to go by, and Kubernetes does not allow a minimum of zero for such a metric.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::demand::Assessment;
use super::published::{PolicyState, Situation, Trace, hold, workers_for};
use super::{Memory, Moment, Observation, Policy, State as InstanceState, Target};

/// How often the metric is looked at (`--horizontal-pod-autoscaler-sync-period`).
pub(super) const SYNC_PERIOD: Duration = Duration::from_secs(15);
/// How far the metric may be from its target, as a share, without consequence (`--horizontal-pod-autoscaler-tolerance`).
pub(super) const TOLERANCE: f64 = 0.1;
/// For how long recommendations are kept, of which the highest counts when workers are to go
/// (`behavior.scaleDown.stabilizationWindowSeconds`).
const STABILISATION: Duration = Duration::from_secs(300);
/// By which factor, or by how many, whichever is more, workers may become more with each look
/// (`behavior.scaleUp.policies`, for a period of 15 s).
const GROWTH_FACTOR: u64 = 2;
const GROWTH_COUNT: u64 = 4;
/// Busy over ready workers.
const TARGET_UTILISATION: f64 = 0.8;
const MIN_WORKERS: u64 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    replicas: Replicas,
    next_sync: Moment,
    utilisation: Trace,
}

/// A number of workers that follows recommendations as Kubernetes has it: up at once but not too far, down to the
/// highest of the last five minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Replicas {
    pub current: u64,
    /// The last one, as it was before it was tempered.
    pub recommended: u64,
    /// Oldest first.
    recommendations: VecDeque<(Moment, u64)>,
}

pub(super) fn target(
    policy: &Policy,
    observation: &Observation,
    assessment: &Assessment,
    memory: &mut Memory,
) -> Target {
    let known = match std::mem::take(&mut memory.policy_state) {
        PolicyState::Hpa(state) => Some(state),
        _ => None,
    };
    let Some(situation) = Situation::new(policy, observation, assessment) else {
        let target = hold(observation, known.as_ref().map(|it| it.replicas.current));
        memory.policy_state = known.map_or(PolicyState::Fresh, PolicyState::Hpa);
        return target;
    };
    let now = situation.now;
    let mut state = known.unwrap_or_else(|| State {
        replicas: Replicas::start(situation.inherited().max(MIN_WORKERS), now),
        next_sync: now,
        utilisation: Trace::default(),
    });
    let (ready, busy) = (situation.ready(), observation.count(InstanceState::Busy));
    if ready > 0 {
        let utilisation = f64::from(busy) / f64::from(ready);
        state.utilisation.note(now, utilisation, SYNC_PERIOD);
    } else {
        state.utilisation.clear();
    }
    if now >= state.next_sync {
        state.next_sync = now.after(SYNC_PERIOD);
        // Without a ready worker there is no metric, and Kubernetes leaves things as they are.
        if let Some(utilisation) = state.utilisation.average(now, SYNC_PERIOD) {
            let not_ready = observation.working().saturating_sub(ready);
            let current = state.replicas.current;
            let wanted = recommend(current, utilisation, ready, not_ready);
            state.replicas.follow(&situation, wanted);
        }
    }
    let (current, recommended) = (state.replicas.current, state.replicas.recommended);
    let next_sync = state.next_sync;
    memory.policy_state = PolicyState::Hpa(state);
    let rejected = situation.alternative(
        current,
        recommended.max(MIN_WORKERS),
        against(current, recommended),
    );
    situation.target(current, Some(next_sync), rejected)
}

/// What speaks against following the metric right away.
pub(super) fn against(current: u64, recommended: u64) -> &'static str {
    if recommended > current {
        "would follow from the metric, but at most 4 or as many again are added in 15 s"
    } else {
        "would follow from the metric, but more were recommended in the last 5 minutes"
    }
}

/// The number of workers at which those that are `ready` would be utilised as they should be.
fn recommend(current: u64, utilisation: f64, ready: u32, not_ready: u32) -> u64 {
    let within_tolerance = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE + 1e-9;
    let ratio = utilisation / TARGET_UTILISATION;
    if not_ready == 0 || ratio <= 1.0 {
        // Who is not ready says nothing about there being too many.
        return if within_tolerance(ratio) {
            current
        } else {
            workers_for(ratio * f64::from(ready), 1.0)
        };
    }
    // When more seem to be needed, those that are on their way are taken to be idle: they will take their share.
    let all = f64::from(ready) + f64::from(not_ready);
    let tempered = ratio * f64::from(ready) / all;
    if tempered < 1.0 || within_tolerance(tempered) {
        return current;
    }
    workers_for(tempered * all, 1.0).max(current)
}

impl Replicas {
    /// The first recommendation is for what there is, so a scaler that was restarted stops nobody for a while.
    pub(super) fn start(current: u64, now: Moment) -> Self {
        Self {
            current,
            recommended: current,
            recommendations: VecDeque::from([(now, current)]),
        }
    }

    /// Takes a recommendation, and goes as far towards it as the behaviour allows.
    pub(super) fn follow(&mut self, situation: &Situation<'_>, recommended: u64) {
        let now = situation.now;
        self.recommendations
            .retain(|(at, _)| now.since(*at) < STABILISATION);
        self.recommendations.push_back((now, recommended));
        self.recommended = recommended;
        let highest = self.recommendations.iter().map(|(_, workers)| *workers);
        let stabilised = self.current.min(highest.max().unwrap_or(recommended));
        let most = self
            .current
            .saturating_mul(GROWTH_FACTOR)
            .max(self.current.saturating_add(GROWTH_COUNT));
        let followed = recommended.max(stabilised).min(most);
        self.current = situation.clamp(followed.max(MIN_WORKERS));
    }
}
