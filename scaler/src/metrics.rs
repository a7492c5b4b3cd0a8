//! The scaler's metrics: names, units and meanings in one place.

use std::time::Duration;

use platform::metric::{Gauge, Metric};

use crate::decision_log::Decision;
use crate::decision_log::stats::Finished;
use crate::execute::ExecutionEvent;
use crate::plan::{InstanceState, Smoothed, StopCause};

platform::metric_table! {
    DESIRED: Gauge "muster_scaler_desired_workers" Count,
        "Workers that the policy wants.";
    WORKERS: Gauge "muster_scaler_workers" [state] Count,
        "Worker instances by state.";
    UNANSWERED: Gauge "muster_scaler_unanswered_requests" Count,
        "Requests that front has accepted and not replied to, while front is reachable.";
    WAITING_FRAMES: Gauge "muster_scaler_waiting_frames" Count,
        "Frames of clips that are not done, while front is reachable. Photos go first.";
    FRONT_REACHABLE: Gauge "muster_scaler_front_reachable" Count,
        "1 while front's demand is known and recent, 0 while the queue stands in for it.";
    MESSAGES: Gauge "muster_scaler_queue_messages" [kind] Count,
        "Messages in the request queue, by kind.";
    ARRIVAL_RATE: Gauge "muster_scaler_arrival_rate" CountPerSecond,
        "Requests accepted per second.";
    ARRIVAL_TREND: Gauge "muster_scaler_arrival_trend" Count,
        "Growth of the arrival rate, in requests per second per second.";
    SERVICE_TIME: Gauge "muster_scaler_service_time" [statistic] Seconds,
        "How long one request occupies a worker, in seconds; by statistic: mean, or spread (mean deviation).";
    FRAME_TIME: Gauge "muster_scaler_frame_time" [statistic] Seconds,
        "How long one frame of a clip occupies a worker, in seconds; by statistic. Absent before it is measured.";
    BOOT_ESTIMATE: Gauge "muster_scaler_boot_estimate" [statistic] Seconds,
        "Expected time from the order to start an instance to its worker's readiness, in seconds; by statistic.";
    COMPLETES_IN: Gauge "muster_scaler_predicted_completion" Seconds,
        "When all requests that wait now are expected to have replies, in seconds from now; NaN: not predicted.";
    BUSY: Histogram "muster_scaler_busy_period_seconds" Seconds,
        "How long each period with unanswered requests lasted.";
    BUSY_PREDICTED: Histogram "muster_scaler_busy_period_predicted_seconds" Seconds,
        "How long each busy period was predicted to last at its start; without those that had no prediction.";
    SPENT: Gauge "muster_scaler_spent_dollars" Count,
        "Dollars for all worker instances since the scaler started; 0 while it stands by.";
    COST_PER_THOUSAND: Gauge "muster_scaler_cost_per_thousand_dollars" Count,
        "Dollars for 1,000 replies since the scaler started; absent before the first reply, NaN while it stands by.";
    PRICE: Gauge "muster_scaler_price_per_hour_dollars" Count,
        "Dollars per instance-hour, as configured.";
    STILL_PAID: Gauge "muster_scaler_still_paid_instances" Count,
        "Instances that are no longer up and whose billed minimum lasts; 0 while the scaler stands by.";
    LEADS: Gauge "muster_scaler_leads" Count,
        "1 while this scaler leads, 0 while it stands by.";
    PAUSED: Gauge "muster_scaler_paused" Count,
        "1 while the scaler is paused.";
    MIN_WORKERS: Gauge "muster_scaler_min_workers" Count,
        "Minimum number of workers, as set.";
    MAX_WORKERS: Gauge "muster_scaler_max_workers" Count,
        "Maximum number of workers, as set.";
    DECISIONS: Counter "muster_scaler_decisions_total" Count,
        "Decisions that changed something.";
    STARTS: Counter "muster_scaler_starts_total" Count,
        "Instances started or launched.";
    STOPS: Counter "muster_scaler_stops_total" [cause] Count,
        "Instances stopped, by cause.";
    FAILED_CALLS: Counter "muster_scaler_failed_calls_total" [call] Count,
        "Calls to EC2 that failed, by call.";
    BOOT_TIME: Histogram "muster_scaler_boot_seconds" Seconds,
        "From the order to start an instance to its worker's readiness.";
}

/// Sets the gauges by a decision.
pub fn decided(decision: &Decision) {
    let (observation, plan) = (&decision.observation, &decision.plan);
    DESIRED.get().set(plan.desired_workers);
    for state in InstanceState::ALL {
        WORKERS.of(state.label()).set(observation.count(state));
    }
    WORKERS
        .of("left_out")
        .set(observation.left_out.len() as f64);
    // As the plan sees it: stale demand does not count.
    let stale_after = decision.active.policy.timeouts.front_stale_after;
    let front = observation
        .front
        .filter(|front| observation.now.since(front.at) <= stale_after);
    FRONT_REACHABLE.get().set(f64::from(front.is_some()));
    if let Some(front) = front {
        UNANSWERED.get().set(front.value.unanswered as f64);
        WAITING_FRAMES.get().set(front.value.waiting_frames as f64);
    }
    if let Some(queue) = observation.queue {
        MESSAGES.of("visible").set(queue.value.visible as f64);
        MESSAGES.of("in_flight").set(queue.value.in_flight as f64);
        MESSAGES.of("delayed").set(queue.value.delayed as f64);
    }
    let completes_in = plan.completes_in.map_or(f64::NAN, |it| it.as_secs_f64());
    COMPLETES_IN.get().set(completes_in);
    if plan.changes_something() {
        DECISIONS.get().increment(1);
    }
    let estimates = &decision.estimates;
    ARRIVAL_RATE.get().set(estimates.arrivals.per_second);
    ARRIVAL_TREND.get().set(estimates.arrivals.trend);
    estimated(&SERVICE_TIME, estimates.service);
    estimated(&FRAME_TIME, estimates.frame);
    estimated(&BOOT_ESTIMATE, estimates.boot);
    settings_and_cost(decision);
}

fn settings_and_cost(decision: &Decision) {
    let (policy, billing) = (&decision.active.policy, &decision.observation.billing);
    let leads = decision.standing_by.is_none();
    LEADS.get().set(f64::from(leads));
    PAUSED.get().set(f64::from(policy.paused_by.is_some()));
    MIN_WORKERS.get().set(policy.bounds.min_workers);
    MAX_WORKERS.get().set(policy.bounds.max_workers);
    PRICE.get().set(policy.prices.per_hour);
    // Only the leader accounts for the instances, so that a sum over all scalers counts none twice.
    SPENT.get().set(if leads { billing.spent } else { 0.0 });
    STILL_PAID
        .get()
        .set(if leads { billing.still_paid } else { 0 });
    if let Some(dollars) = decision.stats.cost_per_thousand(billing.spent) {
        COST_PER_THOUSAND
            .get()
            .set(if leads { dollars } else { f64::NAN });
    }
}

fn estimated(metric: &Metric<Gauge>, estimate: Option<Smoothed>) {
    if let Some(Smoothed { mean, spread, .. }) = estimate {
        metric.of("mean").set(mean);
        metric.of("spread").set(spread);
    }
}

/// Records a busy period that has ended.
pub fn busy_period(finished: &Finished) {
    BUSY.get().record(finished.lasted);
    if let Some(predicted) = finished.predicted {
        BUSY_PREDICTED.get().record(predicted);
    }
}

/// Records what a call to EC2 has brought about.
pub fn executed(event: &ExecutionEvent) {
    match *event {
        ExecutionEvent::Started { instances, .. } | ExecutionEvent::Launched { instances, .. } => {
            STARTS.get().increment(instances);
        }
        ExecutionEvent::Stopped { cause, .. } => {
            let cause = match cause {
                StopCause::Drained => "drained",
                StopCause::Silent => "silent",
                StopCause::NeverAttended => "never_attended",
                StopCause::NeverStarted => "never_started",
                StopCause::Outdated => "outdated",
                // It was counted when it stopped.
                StopCause::OutdatedStopped => return,
            };
            STOPS.of(cause).increment(1);
        }
        ExecutionEvent::Discarded { .. } => {}
        ExecutionEvent::CallFailed { call } => FAILED_CALLS.of(call).increment(1),
    }
}

pub fn boot_time(duration: Duration) {
    BOOT_TIME.get().record(duration);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Billing, FrontDemand, Observation, Plan, Policy, Timestamp, Timestamped};

    #[test]
    fn the_page_lists_every_metric() {
        let rows = platform::metric::markdown(TABLE);
        testkit::assert_generated("docs/watching.md", "scaler", &rows);
    }

    #[test]
    fn a_decision_is_exported_with_meanings() {
        // The recorder is installed by the first rendering.
        drop(platform::telemetry::render_metrics());
        describe();
        let policy = Policy {
            paused_by: Some("a test".to_owned()),
            ..Policy::default()
        };
        let observation = Observation {
            billing: Billing {
                spent: 0.25,
                ..Billing::default()
            },
            ..Observation::default()
        };
        let plan = Plan {
            completes_in: Some(Duration::from_millis(1_500)),
            ..Plan::default()
        };
        let mut decided_so = Decision {
            sequence: 1,
            active: policy.into(),
            observation,
            plan,
            ..Decision::default()
        };
        decided_so.stats.answered = 500;
        decided_so.estimates.service = Some(Smoothed::assumed(Duration::from_secs(2)));
        decided(&decided_so);
        busy_period(&Finished {
            predicted: Some(Duration::from_secs(3)),
            lasted: Duration::from_secs(4),
        });
        let text = platform::telemetry::render_metrics();
        for line in [
            "muster_scaler_paused 1",
            "muster_scaler_spent_dollars 0.25",
            "muster_scaler_cost_per_thousand_dollars 0.5",
            "muster_scaler_price_per_hour_dollars 0.08925",
            "muster_scaler_predicted_completion 1.5",
            "muster_scaler_service_time{statistic=\"mean\"} 2",
            "muster_scaler_workers{state=\"busy\"} 0",
            "muster_scaler_workers{state=\"left_out\"} 0",
            "muster_scaler_busy_period_seconds_sum 4",
            "muster_scaler_busy_period_predicted_seconds_sum 3",
            "# HELP muster_scaler_paused 1 while the scaler is paused.",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
        a_standby_exports_no_cost_and_stale_demand_is_not_reachable(decided_so);
    }

    /// Part of the same test, because the recorder is global.
    fn a_standby_exports_no_cost_and_stale_demand_is_not_reachable(mut it: Decision) {
        let has = |line: &str| {
            let text = platform::telemetry::render_metrics();
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        };
        has("muster_scaler_leads 1");
        let at = Timestamp::after_epoch(Duration::from_secs(100));
        let value = FrontDemand::default();
        it.observation.front = Some(Timestamped { value, at });
        it.observation.now = at.after(Duration::from_secs(3));
        decided(&it);
        has("muster_scaler_front_reachable 1");
        it.observation.now = at.after(Duration::from_secs(4));
        it.standing_by = Some("another leads".to_owned());
        decided(&it);
        for line in [
            "muster_scaler_front_reachable 0",
            "muster_scaler_leads 0",
            "muster_scaler_spent_dollars 0",
            "muster_scaler_cost_per_thousand_dollars NaN",
        ] {
            has(line);
        }
    }
}
