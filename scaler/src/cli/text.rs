//! Formats decisions, times and amounts.

use std::fmt::Write;
use std::time::Duration;

use proto::v1::{InstanceState, Observation, ScalerStatus};

use super::paint::Paint;
use crate::plan::Timestamp;

const STATES: [InstanceState; 8] = [
    InstanceState::Pending,
    InstanceState::Booting,
    InstanceState::Idle,
    InstanceState::Busy,
    InstanceState::Draining,
    InstanceState::Cordoned,
    InstanceState::Stopping,
    InstanceState::Stopped,
];

/// Returns a line with the decision and its reason, and one for each rejected alternative.
pub fn decision(status: &ScalerStatus, paint: Paint) -> String {
    let nothing = Observation::default();
    let observation = status.observation.as_ref().unwrap_or(&nothing);
    let at = status.at.map(|at| time(&at)).unwrap_or_default();
    let Some(plan) = status.plan.as_ref().filter(|_| status.sequence > 0) else {
        return format!("{}  no decision yet\n", paint.dim(&at));
    };
    let acts = plan.launch > 0
        || !(plan.start.is_empty()
            && plan.cordon.is_empty()
            && plan.uncordon.is_empty()
            && plan.stop.is_empty());
    let reason = match (acts, &status.paused_by) {
        (_, Some(_)) => paint.warn(&plan.reason),
        (true, None) => paint.bold(&plan.reason),
        (false, None) => plan.reason.clone(),
    };
    let done = plan
        .completes_in
        .and_then(|it| Duration::try_from(it).ok())
        .map(|it| format!("; done in {}", seconds(it.as_secs_f64())))
        .unwrap_or_default();
    let counts = paint.dim(&format!("[{}]", counts(observation)));
    let mut text = format!("{}  {reason}{done}  {counts}\n", paint.dim(&at));
    for it in &plan.rejected {
        let _ = writeln!(
            text,
            "    {}",
            paint.dim(&format!("not {}: {}", it.workers, it.reason))
        );
    }
    text
}

/// Returns the number of instances in each state.
pub fn counts(observation: &Observation) -> String {
    let count = |state| {
        let instances = observation.instances.iter();
        instances.filter(|it| it.state() == state).count()
    };
    let present = STATES.into_iter().map(|state| (state, count(state)));
    let mut parts: Vec<_> = present
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {}", label(state)))
        .collect();
    if observation.launching > 0 {
        parts.push(format!("{} being launched", observation.launching));
    }
    if !observation.left_out.is_empty() {
        parts.push(format!("{} left out", observation.left_out.len()));
    }
    if parts.is_empty() {
        "no instances".to_owned()
    } else {
        parts.join(", ")
    }
}

pub fn label(state: InstanceState) -> String {
    let name = state.as_str_name();
    name.strip_prefix("INSTANCE_STATE_")
        .unwrap_or(name)
        .to_lowercase()
}

/// Formats to the millisecond: `2026-11-25T00:30:12.345Z`.
pub fn time(at: &prost_types::Timestamp) -> String {
    let whole = prost_types::Timestamp { nanos: 0, ..*at }.to_string();
    let whole = whole.trim_end_matches('Z');
    format!("{whole}.{:03}Z", at.nanos / 1_000_000)
}

pub fn timestamp(at: Timestamp) -> String {
    time(&(std::time::SystemTime::UNIX_EPOCH + at.elapsed()).into())
}

/// Formats with as many digits as matter.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        0.0..0.9995 => format!("{:.0} ms", seconds * 1_000.0),
        0.9995..119.95 => format!("{seconds:.1} s"),
        119.95..7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

/// Formats with four decimals below $100.
pub fn dollars(dollars: f64) -> String {
    if dollars == 0.0 || dollars >= 100.0 {
        format!("${dollars:.2}")
    } else {
        format!("${dollars:.4}")
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{Alternative, Instance, Plan};

    use super::*;

    fn status() -> ScalerStatus {
        ScalerStatus {
            at: Some(prost_types::Timestamp {
                seconds: 1_800_000_000,
                nanos: 7_900_000,
            }),
            sequence: 1,
            observation: Some(Observation {
                instances: vec![Instance {
                    state: InstanceState::Busy.into(),
                    ..Instance::default()
                }],
                launching: 2,
                ..Observation::default()
            }),
            plan: Some(Plan {
                reason: "7 requests unanswered, so 3 wanted: launch 2".to_owned(),
                launch: 2,
                completes_in: Some(prost_types::Duration {
                    seconds: 2,
                    nanos: 500_000_000,
                }),
                rejected: vec![Alternative {
                    workers: 2,
                    reason: "would take 4.1 s".to_owned(),
                }],
                ..Plan::default()
            }),
            ..ScalerStatus::default()
        }
    }

    #[test]
    fn a_decision_is_a_line_with_its_reason_and_a_line_per_alternative() {
        assert_eq!(
            decision(&status(), Paint::plain()),
            "2027-01-15T08:00:00.007Z  7 requests unanswered, so 3 wanted: launch 2; done in 2.5 s  \
             [1 busy, 2 being launched]\n    not 2: would take 4.1 s\n"
        );
        assert!(decision(&status(), Paint::colored()).contains("\u{1b}[1m7 requests"));
        assert_eq!(
            decision(&ScalerStatus::default(), Paint::plain()),
            "  no decision yet\n"
        );
    }

    #[test]
    fn amounts_have_as_many_digits_as_matter() {
        let texts = [0.0, 0.0421, 1.0, 59.94, 119.96, 7_200.0].map(seconds);
        assert_eq!(
            texts,
            ["0 ms", "42 ms", "1.0 s", "59.9 s", "2 min", "2.0 h"]
        );
        assert_eq!(
            [0.0, 0.00123, 250.0].map(dollars),
            ["$0.00", "$0.0012", "$250.00"]
        );
    }
}
