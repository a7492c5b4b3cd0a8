//! The scaler's metrics: names, units and meanings in one place.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::plan::{Observation, Plan, State, StopCause};

/// Workers that the policy wants.
const DESIRED: &str = "muster_scaler_desired_workers";
/// Worker instances by state.
const WORKERS: &str = "muster_scaler_workers";
/// Requests that front has accepted and not answered, while front is reachable.
const UNANSWERED: &str = "muster_scaler_unanswered_requests";
/// 1 while front's demand is watched, 0 while the queue stands in for it.
const FRONT_REACHABLE: &str = "muster_scaler_front_reachable";
/// Messages in the request queue, by kind.
const MESSAGES: &str = "muster_scaler_queue_messages";
/// Decisions that changed something.
const DECISIONS: &str = "muster_scaler_decisions_total";
/// Instances started or launched.
const STARTS: &str = "muster_scaler_starts_total";
/// Instances stopped, by cause.
const STOPS: &str = "muster_scaler_stops_total";
/// Calls to EC2 that failed, by call.
const REFUSED: &str = "muster_scaler_failed_calls_total";
/// From the order to start an instance to its worker's readiness.
const BOOT_TIME: &str = "muster_scaler_boot_seconds";

/// Sets the gauges by a plan and what it was made from.
pub fn planned(observation: &Observation, plan: &Plan) {
    gauge!(DESIRED).set(plan.desired_workers);
    for state in State::ALL {
        gauge!(WORKERS, "state" => state.label()).set(observation.count(state));
    }
    gauge!(FRONT_REACHABLE).set(if observation.front.is_some() {
        1.0
    } else {
        0.0
    });
    if let Some(front) = observation.front {
        gauge!(UNANSWERED).set(front.value.unanswered as f64);
    }
    if let Some(queue) = observation.queue {
        gauge!(MESSAGES, "kind" => "visible").set(queue.value.visible as f64);
        gauge!(MESSAGES, "kind" => "in_flight").set(queue.value.in_flight as f64);
        gauge!(MESSAGES, "kind" => "delayed").set(queue.value.delayed as f64);
    }
    if plan.changes_something() {
        counter!(DECISIONS).increment(1);
    }
}

pub fn started(count: usize) {
    counter!(STARTS).increment(count as u64);
}

pub fn stopped(cause: StopCause) {
    let cause = match cause {
        StopCause::Drained => "drained",
        StopCause::Silent => "silent",
        StopCause::NeverAttended => "never_attended",
    };
    counter!(STOPS, "cause" => cause).increment(1);
}

pub fn refused(call: &'static str) {
    counter!(REFUSED, "call" => call).increment(1);
}

pub fn boot_time(duration: Duration) {
    histogram!(BOOT_TIME).record(duration);
}
