//! KEDA's scaler for SQS queues with its defaults, and the HorizontalPodAutoscaler that it drives.
//!
//! Sources: "AWS SQS Queue" (<https://keda.sh/docs/latest/scalers/aws-sqs/>), "ScaledObject specification"
//! (<https://keda.sh/docs/latest/reference/scaledobject-spec/>), and for what is between one worker and the maximum
//! "Horizontal Pod Autoscaling" (<https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>).
//!
//! KEDA itself only decides between none and one, by the queue at each polling interval. Once there is a worker,
//! Kubernetes' autoscaler takes over, asks KEDA for the number of messages at each sync, and wants one worker for each
//! five. Messages in flight count too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hpa::{Replicas, SYNC_PERIOD, is_within_tolerance};
use super::{PolicyInput, Target};
use crate::Timestamp;
use crate::demand::workers_for;

/// Messages for each worker (`queueLength`).
const QUEUE_LENGTH: f64 = 5.0;
/// More messages than this activate the first worker (`activationQueueLength`).
const ACTIVATION_QUEUE_LENGTH: u64 = 0;
/// How often the decision between none and one is made (`pollingInterval`).
const POLLING_INTERVAL: Duration = Duration::from_secs(30);
/// How long after the queue was last active the last worker is withdrawn (`cooldownPeriod`).
const COOLDOWN_PERIOD: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KedaState {
    pub replicas: Replicas,
    next_poll: Timestamp,
    next_sync: Timestamp,
    last_active: Timestamp,
}

impl KedaState {
    /// KEDA keeps the last activity in the cluster. Here a restart forgets it, and the cooldown begins anew.
    pub fn start(input: &PolicyInput<'_>) -> Self {
        let now = input.now;
        Self {
            replicas: Replicas::start(input.inherited(), now),
            next_poll: now,
            next_sync: now,
            last_active: now,
        }
    }

    pub fn target(&mut self, input: &PolicyInput<'_>) -> Target {
        // In this order Kubernetes takes up an activated worker at its next sync, not at once.
        if input.now >= self.next_sync {
            self.sync(input);
        }
        if input.now >= self.next_poll {
            self.poll(input);
        }
        let wake_at = self.next_poll.min(self.next_sync);
        if self.replicas.current > 0 {
            return self.replicas.target(input, wake_at);
        }
        let needed = workers_for(input.demand as f64, QUEUE_LENGTH);
        let against = "would do, but KEDA has yet to poll the queue";
        input.target(0, Some(wake_at), input.alternative(0, needed, against))
    }

    fn poll(&mut self, input: &PolicyInput<'_>) {
        let now = input.now;
        self.next_poll = now.after(POLLING_INTERVAL);
        let least = u64::from(input.limits.min_workers);
        if input.demand > ACTIVATION_QUEUE_LENGTH {
            self.last_active = now;
            if self.replicas.current == 0 {
                self.replicas.current = input.clamp(least.max(1));
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

    fn sync(&mut self, input: &PolicyInput<'_>) {
        self.next_sync = input.now.after(SYNC_PERIOD);
        let current = self.replicas.current;
        if current == 0 {
            // Kubernetes' autoscaler is off until KEDA has activated the first worker.
            return;
        }
        let messages = input.demand as f64;
        let recommended = if is_within_tolerance(messages / (QUEUE_LENGTH * current as f64)) {
            current
        } else {
            workers_for(messages, QUEUE_LENGTH)
        };
        self.replicas.follow(input, recommended);
    }
}
