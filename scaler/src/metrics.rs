//! The scaler's metrics: names, units and meanings in one place.

use std::time::Duration;

use metrics::{Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

use crate::decision_log::Decision;
use crate::decision_log::stats::Finished;
use crate::execute::Event;
use crate::plan::{Smoothed, State, StopCause};

/// Declares a constant for each metric's name, and `describe`, which registers the units and meanings.
macro_rules! table {
    ($($constant:ident = $describe:ident($name:literal, $unit:ident, $meaning:literal);)*) => {
        $(#[doc = $meaning] const $constant: &str = $name;)*

        /// Registers the units and meanings with the recorder.
        pub fn describe() {
            $($describe!($name, Unit::$unit, $meaning);)*
        }
    };
}

table! {
    DESIRED = describe_gauge("muster_scaler_desired_workers", Count, "Workers that the policy wants.");
    WORKERS = describe_gauge("muster_scaler_workers", Count, "Worker instances by state.");
    UNANSWERED = describe_gauge("muster_scaler_unanswered_requests", Count,
        "Requests that front has accepted and not replied to, while front is reachable.");
    FRONT_REACHABLE = describe_gauge("muster_scaler_front_reachable", Count,
        "1 while front's demand is known and recent, 0 while the queue stands in for it.");
    MESSAGES = describe_gauge("muster_scaler_queue_messages", Count, "Messages in the request queue, by kind.");
    ARRIVAL_RATE = describe_gauge("muster_scaler_arrival_rate", CountPerSecond, "Requests accepted per second.");
    ARRIVAL_TREND = describe_gauge("muster_scaler_arrival_trend", Count,
        "Growth of the arrival rate, in requests per second per second.");
    SERVICE_TIME = describe_gauge("muster_scaler_service_time", Seconds,
        "How long one request occupies a worker, in seconds; by statistic: mean, or spread (mean deviation).");
    BOOT_ESTIMATE = describe_gauge("muster_scaler_boot_estimate", Seconds,
        "Expected time from the order to start an instance to its worker's readiness, in seconds; by statistic.");
    COMPLETES_IN = describe_gauge("muster_scaler_predicted_completion", Seconds,
        "When all requests that wait now are expected to have replies, in seconds from now; NaN: not predicted.");
    BUSY = describe_histogram("muster_scaler_busy_period_seconds", Seconds,
        "How long each period with unanswered requests lasted.");
    BUSY_PREDICTED = describe_histogram("muster_scaler_busy_period_predicted_seconds", Seconds,
        "How long each busy period was predicted to last at its start; without those that had no prediction.");
    SPENT = describe_gauge("muster_scaler_spent_dollars", Count,
        "Dollars for all worker instances since the scaler started; 0 while it stands by.");
    COST_PER_THOUSAND = describe_gauge("muster_scaler_cost_per_thousand_dollars", Count,
        "Dollars for 1,000 replies since the scaler started; absent before the first reply, NaN while it stands by.");
    PRICE = describe_gauge("muster_scaler_price_per_hour_dollars", Count,
        "Dollars per instance-hour, as configured.");
    STILL_PAID = describe_gauge("muster_scaler_still_paid_instances", Count,
        "Instances that are no longer up and whose billed minimum lasts; 0 while the scaler stands by.");
    LEADS = describe_gauge("muster_scaler_leads", Count,
        "1 while this scaler leads, 0 while it stands by.");
    PAUSED = describe_gauge("muster_scaler_paused", Count, "1 while the scaler is paused.");
    MIN_WORKERS = describe_gauge("muster_scaler_min_workers", Count, "Minimum number of workers, as set.");
    MAX_WORKERS = describe_gauge("muster_scaler_max_workers", Count, "Maximum number of workers, as set.");
    DECISIONS = describe_counter("muster_scaler_decisions_total", Count, "Decisions that changed something.");
    STARTS = describe_counter("muster_scaler_starts_total", Count, "Instances started or launched.");
    STOPS = describe_counter("muster_scaler_stops_total", Count, "Instances stopped, by cause.");
    FAILED_CALLS = describe_counter("muster_scaler_failed_calls_total", Count, "Calls to EC2 that failed, by call.");
    BOOT_TIME = describe_histogram("muster_scaler_boot_seconds", Seconds,
        "From the order to start an instance to its worker's readiness.");
}

/// Sets the gauges by a decision.
pub fn decided(decision: &Decision) {
    let (observation, plan) = (&decision.observation, &decision.plan);
    gauge!(DESIRED).set(plan.desired_workers);
    for state in State::ALL {
        gauge!(WORKERS, "state" => state.label()).set(observation.count(state));
    }
    // As the plan sees it: stale demand does not count.
    let stale_after = decision.active.policy.timeouts.front_stale_after;
    let front = observation
        .front
        .filter(|front| observation.now.since(front.at) <= stale_after);
    gauge!(FRONT_REACHABLE).set(f64::from(front.is_some()));
    if let Some(front) = front {
        gauge!(UNANSWERED).set(front.value.unanswered as f64);
    }
    if let Some(queue) = observation.queue {
        gauge!(MESSAGES, "kind" => "visible").set(queue.value.visible as f64);
        gauge!(MESSAGES, "kind" => "in_flight").set(queue.value.in_flight as f64);
        gauge!(MESSAGES, "kind" => "delayed").set(queue.value.delayed as f64);
    }
    let completes_in = plan.completes_in.map_or(f64::NAN, |it| it.as_secs_f64());
    gauge!(COMPLETES_IN).set(completes_in);
    if plan.changes_something() {
        counter!(DECISIONS).increment(1);
    }
    let estimates = &decision.estimates;
    gauge!(ARRIVAL_RATE).set(estimates.arrivals.per_second);
    gauge!(ARRIVAL_TREND).set(estimates.arrivals.trend);
    estimated(SERVICE_TIME, estimates.service);
    estimated(BOOT_ESTIMATE, estimates.boot);
    settings_and_cost(decision);
}

fn settings_and_cost(decision: &Decision) {
    let (policy, billing) = (&decision.active.policy, &decision.observation.billing);
    let leads = decision.standing_by.is_none();
    gauge!(LEADS).set(f64::from(leads));
    gauge!(PAUSED).set(f64::from(policy.paused_by.is_some()));
    gauge!(MIN_WORKERS).set(policy.bounds.min_workers);
    gauge!(MAX_WORKERS).set(policy.bounds.max_workers);
    gauge!(PRICE).set(policy.prices.per_hour);
    // Only the leader accounts for the instances, so that a sum over all scalers counts none twice.
    gauge!(SPENT).set(if leads { billing.spent } else { 0.0 });
    gauge!(STILL_PAID).set(if leads { billing.still_paid } else { 0 });
    if let Some(dollars) = decision.stats.cost_per_thousand(billing.spent) {
        gauge!(COST_PER_THOUSAND).set(if leads { dollars } else { f64::NAN });
    }
}

fn estimated(name: &'static str, estimate: Option<Smoothed>) {
    if let Some(Smoothed { mean, spread, .. }) = estimate {
        gauge!(name, "statistic" => "mean").set(mean);
        gauge!(name, "statistic" => "spread").set(spread);
    }
}

/// Records a busy period that has ended.
pub fn busy_period(finished: &Finished) {
    histogram!(BUSY).record(finished.lasted);
    if let Some(predicted) = finished.predicted {
        histogram!(BUSY_PREDICTED).record(predicted);
    }
}

/// Records what a call to EC2 has brought about.
pub fn executed(event: &Event) {
    match *event {
        Event::Started { instances, .. } | Event::Launched { instances, .. } => {
            counter!(STARTS).increment(instances);
        }
        Event::Stopped { cause, .. } => {
            let cause = match cause {
                StopCause::Drained => "drained",
                StopCause::Silent => "silent",
                StopCause::NeverAttended => "never_attended",
                StopCause::NeverStarted => "never_started",
                StopCause::Outdated => "outdated",
                // It was counted when it stopped.
                StopCause::OutdatedStopped => return,
            };
            counter!(STOPS, "cause" => cause).increment(1);
        }
        Event::Discarded { .. } => {}
        Event::CallFailed { call } => counter!(FAILED_CALLS, "call" => call).increment(1),
    }
}

pub fn boot_time(duration: Duration) {
    histogram!(BOOT_TIME).record(duration);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Billing, FrontDemand, Memory, Observation, Plan, Policy, Seen, Timestamp};
    use crate::wire::tests::decision;

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
        let mut decided_so = decision(1, &policy, &observation, &plan, &Memory::default());
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
        it.observation.front = Some(Seen { value, at });
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
