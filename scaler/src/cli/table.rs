use std::fmt::Write;
use std::time::{Duration, SystemTime};

use proto::v1::{InstanceState, Observation, Plan, ScalerStatus};

/// The status as a small table: what is known, what was decided, and the instances.
pub fn table(status: &ScalerStatus) -> String {
    let observation = status.observation.clone().unwrap_or_default();
    let plan = status.plan.clone().unwrap_or_default();
    let bounds = status.bounds.unwrap_or_default();
    let totals = status.totals.unwrap_or_default();
    let mut rows = vec![
        (
            "policy",
            format!(
                "{}, {} to {} workers",
                plan.policy, bounds.min_workers, bounds.max_workers
            ),
        ),
        ("demand", demand(&observation)),
        (
            "workers",
            format!("{} wanted; {}", plan.desired_workers, counts(&observation)),
        ),
        ("decision", plan.reason),
        (
            "so far",
            format!(
                "{} started, {} launched, {} stopped ({} silent, {} busy)",
                totals.started,
                totals.launched,
                totals.stopped,
                totals.silent_workers_stopped,
                totals.busy_workers_stopped
            ),
        ),
    ];
    if let Some(queue) = &observation.queue {
        let text = format!(
            "{} visible, {} in flight, {} delayed",
            queue.visible, queue.in_flight, queue.delayed
        );
        rows.insert(2, ("queue", text));
    }
    let mut text = String::new();
    for (title, value) in rows {
        let _ = writeln!(text, "{title:<9} {value}");
    }
    if !observation.instances.is_empty() {
        let _ = writeln!(
            text,
            "\n{:<24} {:<20} {:<9} FOR",
            "NAME", "INSTANCE", "STATE"
        );
    }
    for instance in &observation.instances {
        let since = instance
            .since
            .and_then(|since| SystemTime::try_from(since).ok());
        let age = since.and_then(|since| SystemTime::now().duration_since(since).ok());
        let _ = writeln!(
            text,
            "{:<24} {:<20} {:<9} {}",
            instance.name,
            instance.instance_id,
            label(instance.state()),
            age.map(coarse).unwrap_or_default()
        );
    }
    text
}

/// One line a decision.
pub fn line(status: &ScalerStatus) -> String {
    let observation = status.observation.clone().unwrap_or_default();
    let plan = status.plan.clone().unwrap_or_default();
    let at = status.at.map(|at| at.to_string()).unwrap_or_default();
    format!("{at}  {}  [{}]", reason(&plan), counts(&observation))
}

fn reason(plan: &Plan) -> &str {
    if plan.reason.is_empty() {
        "no decision yet"
    } else {
        &plan.reason
    }
}

fn demand(observation: &Observation) -> String {
    match observation.unanswered {
        Some(unanswered) => format!("{unanswered} unanswered"),
        None => "front is unreachable".to_owned(),
    }
}

fn counts(observation: &Observation) -> String {
    let states = [
        InstanceState::Pending,
        InstanceState::Booting,
        InstanceState::Idle,
        InstanceState::Busy,
        InstanceState::Draining,
        InstanceState::Cordoned,
        InstanceState::Stopping,
        InstanceState::Stopped,
    ];
    let count = |state| {
        observation
            .instances
            .iter()
            .filter(|it| it.state() == state)
            .count()
    };
    let present = states
        .into_iter()
        .map(|state| (state, count(state)))
        .filter(|(_, n)| *n > 0);
    let text: Vec<_> = present
        .map(|(state, n)| format!("{n} {}", label(state)))
        .collect();
    if text.is_empty() {
        "no instances".to_owned()
    } else {
        text.join(", ")
    }
}

fn label(state: InstanceState) -> String {
    let name = state.as_str_name();
    name.strip_prefix("INSTANCE_STATE_")
        .unwrap_or(name)
        .to_lowercase()
}

fn coarse(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
