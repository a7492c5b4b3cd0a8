//! Kubernetes' HorizontalPodAutoscaler with the defaults of `autoscaling/v2`.
//!
//! Source: "Horizontal Pod Autoscaling"
//! (<https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>), its sections on the algorithm, on
//! pods that are not yet ready, and on the default behavior.
//!
//! A worker does one job at a time, so utilization is the share of ready workers that are busy. It is averaged over the
//! sync period, as the processor time that Kubernetes sees. The target is 80 %, which `autoscaling/v2` sets when no metric
//! is given (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/>). As
//! utilization cannot exceed 1, a saturated fleet grows by a quarter at a time. There is always one worker: without any
//! there is no utilization, and Kubernetes does not allow a minimum of zero for such a metric.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metric_history::MetricHistory;
use super::{PolicyInput, Target};
use crate::Timestamp;
use crate::demand::workers_for;

/// How often the metric is read (`--horizontal-pod-autoscaler-sync-period`).
pub const SYNC_PERIOD: Duration = Duration::from_secs(15);
/// How far the metric may be from its target, as a share, without consequence (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: f64 = 0.1;
/// For how long recommendations are kept. The highest of them counts for scale-in
/// (`behavior.scaleDown.stabilizationWindowSeconds`).
const STABILIZATION: Duration = Duration::from_secs(300);
/// By which factor, or by how many, whichever is more, workers may grow in one sync period (`behavior.scaleUp.policies`).
const GROWTH_FACTOR: u64 = 2;
const GROWTH_COUNT: u64 = 4;
/// Busy over ready workers.
const TARGET_UTILIZATION: f64 = 0.8;
const MIN_WORKERS: u64 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HpaState {
    pub replicas: Replicas,
    next_sync: Timestamp,
    utilization: MetricHistory,
}

/// A number of workers that follows recommendations as in Kubernetes: up at once within the growth limit, down to the
/// highest of the last five minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replicas {
    pub current: u64,
    /// The last recommendation, before the behavior limited it.
    pub recommended: u64,
    /// Oldest first.
    recommendations: VecDeque<(Timestamp, u64)>,
}

impl HpaState {
    pub fn start(input: &PolicyInput<'_>) -> Self {
        Self {
            replicas: Replicas::start(input.inherited().max(MIN_WORKERS), input.now),
            next_sync: input.now,
            utilization: MetricHistory::default(),
        }
    }

    pub fn target(&mut self, input: &PolicyInput<'_>) -> Target {
        let (now, observation) = (input.now, input.observation);
        let (ready, busy) = (input.ready(), input.busy_with_photos());
        if ready > 0 {
            let utilization = f64::from(busy) / f64::from(ready);
            self.utilization.note(now, utilization, SYNC_PERIOD);
        } else {
            self.utilization.clear();
        }
        if now >= self.next_sync {
            self.next_sync = now.after(SYNC_PERIOD);
            // Without a ready worker there is no metric, and Kubernetes changes nothing.
            if let Some(utilization) = self.utilization.average(now, SYNC_PERIOD) {
                let not_ready = observation.working().saturating_sub(ready);
                let current = self.replicas.current;
                let wanted = recommend(current, utilization, ready, not_ready);
                self.replicas.follow(input, wanted);
            }
        }
        self.replicas.target(input, self.next_sync)
    }
}

/// The number of workers at which the `ready` ones would have the target utilization.
fn recommend(current: u64, utilization: f64, ready: u32, not_ready: u32) -> u64 {
    let ratio = utilization / TARGET_UTILIZATION;
    if not_ready == 0 || ratio <= 1.0 {
        // Workers that are not ready are no evidence of too many.
        return if is_within_tolerance(ratio) {
            current
        } else {
            workers_for(ratio * f64::from(ready), 1.0)
        };
    }
    // Before growing, workers that are not ready count as idle: they will take their share.
    let all = f64::from(ready) + f64::from(not_ready);
    let tempered = ratio * f64::from(ready) / all;
    if tempered < 1.0 || is_within_tolerance(tempered) {
        return current;
    }
    workers_for(tempered * all, 1.0).max(current)
}

/// Returns whether a metric over its target is near enough to 1.
pub fn is_within_tolerance(ratio: f64) -> bool {
    (ratio - 1.0).abs() <= TOLERANCE + 1e-9
}

impl Replicas {
    /// The first recommendation is the present number, so a restarted scaler stops no worker for a while.
    pub fn start(current: u64, now: Timestamp) -> Self {
        Self {
            current,
            recommended: current,
            recommendations: VecDeque::from([(now, current)]),
        }
    }

    /// Takes a recommendation, and follows it as far as the behavior allows.
    pub fn follow(&mut self, input: &PolicyInput<'_>, recommended: u64) {
        let now = input.now;
        self.recommendations
            .retain(|(at, _)| now.since(*at) < STABILIZATION);
        self.recommendations.push_back((now, recommended));
        self.recommended = recommended;
        let highest = self.recommendations.iter().map(|(_, workers)| *workers);
        let stabilized = self.current.min(highest.max().unwrap_or(recommended));
        let most = self
            .current
            .saturating_mul(GROWTH_FACTOR)
            .max(self.current.saturating_add(GROWTH_COUNT));
        let followed = recommended.max(stabilized).min(most);
        self.current = input.clamp(followed.max(MIN_WORKERS));
    }

    pub fn target(&self, input: &PolicyInput<'_>, wake_at: Timestamp) -> Target {
        let against = if self.recommended > self.current {
            "would follow from the metric, but at most 4 or as many again are added in 15 s"
        } else {
            "would follow from the metric, but more were recommended in the last 5 minutes"
        };
        let considered = self.recommended.max(MIN_WORKERS);
        let rejected = input.alternative(self.current, considered, against);
        input.target(self.current, Some(wake_at), rejected)
    }
}
