//! KEDA's scaler for SQS queues with its defaults, and the HorizontalPodAutoscaler that it drives.
//!
//! Sources: "AWS SQS Queue" (<https://keda.sh/docs/latest/scalers/aws-sqs/>), "ScaledObject specification"
//! (<https://keda.sh/docs/latest/reference/scaledobject-spec/>), and for what is between one worker and the maximum
//! "Horizontal Pod Autoscaling" (<https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>).
//!
//! KEDA itself only decides between none and one: it looks at the queue at each polling interval. Once there is a
//! worker, Kubernetes' autoscaler takes over, asks KEDA for the number of messages at each of its own looks, and wants
//! one worker for each five. Messages in flight count too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::demand::Assessment;
use super::hpa::{Replicas, SYNC_PERIOD, TOLERANCE, against};
use super::published::{PolicyState, Situation, hold, workers_for};
use super::{Memory, Moment, Observation, Policy, Target};

/// Messages for each worker (`queueLength`).
const QUEUE_LENGTH: f64 = 5.0;
/// More messages than this activate the first worker (`activationQueueLength`).
const ACTIVATION_QUEUE_LENGTH: u64 = 0;
/// How often the decision between none and one is made (`pollingInterval`).
const POLLING_INTERVAL: Duration = Duration::from_secs(30);
/// How long the queue was last seen active before the last worker goes (`cooldownPeriod`).
const COOLDOWN_PERIOD: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    replicas: Replicas,
    next_poll: Moment,
    next_sync: Moment,
    last_active: Moment,
}

pub(super) fn target(
    policy: &Policy,
    observation: &Observation,
    assessment: &Assessment,
    memory: &mut Memory,
) -> Target {
    let known = match std::mem::take(&mut memory.policy_state) {
        PolicyState::Keda(state) => Some(state),
        _ => None,
    };
    let Some(situation) = Situation::new(policy, observation, assessment) else {
        let target = hold(observation, known.as_ref().map(|it| it.replicas.current));
        memory.policy_state = known.map_or(PolicyState::Fresh, PolicyState::Keda);
        return target;
    };
    let now = situation.now;
    // KEDA keeps the last activity in the cluster. Here a restart forgets it, and the cooldown begins anew.
    let mut state = known.unwrap_or_else(|| State {
        replicas: Replicas::start(situation.inherited(), now),
        next_poll: now,
        next_sync: now,
        last_active: now,
    });
    // In this order Kubernetes takes up an activated worker at its next look, not in the same instant.
    if now >= state.next_sync {
        state.sync(&situation);
    }
    if now >= state.next_poll {
        state.poll(&situation);
    }
    let (current, recommended) = (state.replicas.current, state.replicas.recommended);
    let wake_at = state.next_poll.min(state.next_sync);
    memory.policy_state = PolicyState::Keda(state);
    let rejected = if current == 0 {
        let needed = workers_for(situation.demand as f64, QUEUE_LENGTH);
        situation.alternative(0, needed, "would do, but KEDA has yet to poll the queue")
    } else {
        situation.alternative(current, recommended.max(1), against(current, recommended))
    };
    situation.target(current, Some(wake_at), rejected)
}

impl State {
    fn poll(&mut self, situation: &Situation<'_>) {
        let now = situation.now;
        self.next_poll = now.after(POLLING_INTERVAL);
        let least = u64::from(situation.limits.min_workers);
        if situation.demand > ACTIVATION_QUEUE_LENGTH {
            self.last_active = now;
            if self.replicas.current == 0 {
                self.replicas.current = situation.clamp(least.max(1));
                self.replicas.recommended = self.replicas.current;
            }
        } else if self.replicas.current > 0
            && least == 0
            && now.since(self.last_active) > COOLDOWN_PERIOD
        {
            self.replicas.current = 0;
        } else if self.replicas.current < least {
            self.replicas.current = least;
        }
    }

    fn sync(&mut self, situation: &Situation<'_>) {
        self.next_sync = situation.now.after(SYNC_PERIOD);
        let current = self.replicas.current;
        if current == 0 {
            // Kubernetes' autoscaler is off until KEDA has activated the first worker.
            return;
        }
        let messages = situation.demand as f64;
        let ratio = messages / (QUEUE_LENGTH * current as f64);
        let recommended = if (ratio - 1.0).abs() <= TOLERANCE + 1e-9 {
            current
        } else {
            workers_for(messages, QUEUE_LENGTH)
        };
        self.replicas.follow(situation, recommended);
    }
}
