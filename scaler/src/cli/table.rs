use std::fmt::Write;
use std::time::Duration;

use proto::v1::{
    Bounds, Estimate, Estimates, Instance, InstanceState, LeftOutInstance, Observation, Plan,
    Policy, ScalerStatus, Totals,
};

use super::paint::Paint;
use super::text::{counts, dollars, label, seconds};

/// Formats the status as a table: demand, measurements, decision with its reason, cost, and the instances.
pub fn table(status: &ScalerStatus, paint: Paint) -> String {
    let observation = status.observation.clone().unwrap_or_default();
    let plan = status.plan.clone().unwrap_or_default();
    let mut text = String::new();
    for (title, value) in rows(status, &observation, &plan, paint) {
        let _ = writeln!(text, "{} {value}", paint.dim(&format!("{title:<9}")));
    }
    if observation.instances.is_empty() && observation.left_out.is_empty() {
        return text;
    }
    let titles = format!(
        "{:<24} {:<20} {:<9} {:>8} {:>8} {:>8}",
        "NAME", "INSTANCE", "STATE", "FOR", "HEARD", "UP"
    );
    let _ = writeln!(text, "\n{}", paint.bold(&titles));
    for instance in &observation.instances {
        text += &row(instance, status, paint);
    }
    for instance in &observation.left_out {
        text += &left_out_row(instance, status, paint);
    }
    text
}

fn rows(
    status: &ScalerStatus,
    observation: &Observation,
    plan: &Plan,
    paint: Paint,
) -> Vec<(&'static str, String)> {
    let bounds = status.bounds.unwrap_or_default();
    let policy = status.policy.clone().unwrap_or_default();
    let mut rows = vec![("policy", policy_row(plan, &policy, &bounds))];
    if let Some(by) = &status.paused_by {
        rows.push(("paused", paint.warn(&format!("by {by}"))));
    }
    rows.push(("demand", demand(observation)));
    if let Some(queue) = &observation.queue {
        let text = format!(
            "{} visible, {} in flight, {} delayed",
            queue.visible, queue.in_flight, queue.delayed
        );
        rows.push(("queue", text));
    }
    rows.push(("measured", measured(&status.estimates.unwrap_or_default())));
    rows.push((
        "workers",
        format!("{} wanted; {}", plan.desired_workers, counts(observation)),
    ));
    rows.push(("decision", paint.bold(reason(plan))));
    for it in &plan.rejected {
        rows.push(("", paint.dim(&format!("not {}: {}", it.workers, it.reason))));
    }
    if let Some(forecast) = forecast(status, plan) {
        rows.push(("forecast", forecast));
    }
    rows.push(("cost", cost(status, observation, &policy)));
    rows.push(("so far", totals(&status.totals.unwrap_or_default())));
    rows
}

fn policy_row(plan: &Plan, policy: &Policy, bounds: &Bounds) -> String {
    let mut text = format!(
        "{}, {} to {} workers",
        plan.policy, bounds.min_workers, bounds.max_workers
    );
    if let Some(budget) = bounds.budget_per_hour {
        let _ = write!(text, ", at most {} an hour", dollars(budget));
    }
    if bounds.warm_pool > 0 {
        let _ = write!(text, ", {} stopped ones kept ready", bounds.warm_pool);
    }
    if let Some(target) = length(policy.latency_target) {
        let _ = write!(text, ", answers within {}", seconds(target));
    }
    text
}

fn demand(observation: &Observation) -> String {
    match (observation.front, observation.unanswered) {
        (Some(front), _) => {
            let age = length(front.age).unwrap_or_default();
            let stale = if age >= 2.0 {
                format!(", {} ago", seconds(age))
            } else {
                String::new()
            };
            let frames = match front.waiting_frames {
                0 => String::new(),
                waiting => format!("; {waiting} frames of clips, after photos"),
            };
            format!(
                "{} unanswered; {} accepted, {} answered since front started{frames}{stale}",
                front.unanswered, front.accepted_total, front.answered_total
            )
        }
        (None, Some(unanswered)) => format!("{unanswered} unanswered"),
        (None, None) => "front is unreachable".to_owned(),
    }
}

fn measured(estimates: &Estimates) -> String {
    let trend = if estimates.arrival_trend == 0.0 {
        String::new()
    } else {
        format!(" ({:+.2} each second)", estimates.arrival_trend)
    };
    let frame = match estimates.frame {
        None => String::new(),
        measured => format!("; {} a frame", estimate(measured)),
    };
    format!(
        "{:.1} requests a second{trend}; {} a request{frame}; {} to boot",
        estimates.arrival_rate,
        estimate(estimates.service),
        estimate(estimates.boot)
    )
}

fn estimate(estimate: Option<Estimate>) -> String {
    let Some(it) = estimate else {
        return "?".to_owned();
    };
    if it.samples == 0 {
        return format!("{} (assumed)", seconds(it.mean_seconds));
    }
    if it.samples == it.learned {
        return format!("{} (learned before)", seconds(it.mean_seconds));
    }
    let (mean, spread) = (seconds(it.mean_seconds), seconds(it.spread_seconds));
    format!("{mean} ± {spread}")
}

fn forecast(status: &ScalerStatus, plan: &Plan) -> Option<String> {
    let tally = status.tally.unwrap_or_default();
    let mut parts = Vec::new();
    if let Some(rest) = length(plan.completes_in) {
        parts.push(format!("all answered in {}", seconds(rest)));
    }
    if let Some(predicted) = length(tally.busy_predicted) {
        parts.push(format!("{} expected at the start", seconds(predicted)));
    }
    if let Some(lasted) = length(tally.last_busy_lasted) {
        let predicted = length(tally.last_busy_predicted);
        let expected = predicted.map(|it| format!(", {} expected", seconds(it)));
        parts.push(format!(
            "last time busy for {}{}",
            seconds(lasted),
            expected.unwrap_or_default()
        ));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn cost(status: &ScalerStatus, observation: &Observation, policy: &Policy) -> String {
    let billing = observation.billing.unwrap_or_default();
    let up = observation
        .instances
        .iter()
        .filter(|it| !matches!(it.state(), InstanceState::Stopped | InstanceState::Stopping))
        .count();
    let mut text = format!(
        "{} since the start, {} an hour now",
        dollars(billing.spent),
        dollars(up as f64 * policy.price_per_hour)
    );
    if let Some(per_thousand) = status.tally.and_then(|it| it.cost_per_thousand) {
        let _ = write!(text, ", {} for 1,000 answers", dollars(per_thousand));
    }
    if billing.still_paid > 0 {
        let _ = write!(text, "; {} paid for and not up", billing.still_paid);
    }
    text
}

fn totals(totals: &Totals) -> String {
    format!(
        "{} started, {} launched, {} stopped ({} silent, {} never attended, {} busy), {} terminated",
        totals.started,
        totals.launched,
        totals.stopped,
        // These include the ones that never attended.
        totals
            .silent_workers_stopped
            .saturating_sub(totals.never_attended_stopped),
        totals.never_attended_stopped,
        totals.busy_workers_stopped,
        totals.terminated
    )
}

fn row(instance: &Instance, status: &ScalerStatus, paint: Paint) -> String {
    let ago = |at: Option<prost_types::Timestamp>| {
        let (at, now) = (seconds_after_epoch(at?), seconds_after_epoch(status.at?));
        Some(seconds((now - at).max(0.0)))
    };
    let state = instance.state();
    let up = !matches!(state, InstanceState::Stopped | InstanceState::Stopping);
    let started_at = instance.started_at.filter(|_| up);
    let mark = match (instance.leaving, instance.outdated) {
        (true, _) => paint.warn("  AWS takes it away"),
        (false, true) => paint.warn("  outdated"),
        (false, false) => String::new(),
    };
    format!(
        "{:<24} {:<20} {} {:>8} {:>8} {:>8}{mark}\n",
        instance.name,
        instance.instance_id,
        paint.state(state, &format!("{:<9}", label(state))),
        ago(instance.since).unwrap_or_default(),
        ago(instance.heard).unwrap_or_else(|| "-".to_owned()),
        ago(started_at).unwrap_or_else(|| "-".to_owned()),
    )
}

fn left_out_row(instance: &LeftOutInstance, status: &ScalerStatus, paint: Paint) -> String {
    let rest = instance.until.zip(status.at).map(|(until, now)| {
        let rest = seconds_after_epoch(until) - seconds_after_epoch(now);
        format!("; counts again in {}", seconds(rest.max(0.0)))
    });
    let mark = format!("  {}{}", instance.reason, rest.unwrap_or_default());
    format!(
        "{:<24} {:<20} {} {:>8} {:>8} {:>8}{}\n",
        instance.name,
        instance.instance_id,
        paint.state(InstanceState::Stopped, &format!("{:<9}", "stopped")),
        "-",
        "-",
        "-",
        paint.warn(&mark),
    )
}

fn reason(plan: &Plan) -> &str {
    if plan.reason.is_empty() {
        "no decision yet"
    } else {
        &plan.reason
    }
}

fn length(duration: Option<prost_types::Duration>) -> Option<f64> {
    let duration = Duration::try_from(duration?).ok()?;
    Some(duration.as_secs_f64())
}

fn seconds_after_epoch(at: prost_types::Timestamp) -> f64 {
    at.seconds as f64 + f64::from(at.nanos) / 1e9
}

#[cfg(test)]
mod tests;
