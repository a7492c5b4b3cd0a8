use std::fmt::Write;

use super::demand::{Assessment, Zero};
use super::{Limits, Observation, Plan, StopCause};

/// Says what is known, what follows from it, and what is done about it.
pub(super) fn sentence(
    limits: Limits,
    observation: &Observation,
    assessment: &Assessment,
    plan: &Plan,
) -> String {
    let mut sentence = cause(assessment);
    let desired = plan.desired_workers;
    let bound = if desired == limits.max_workers {
        ", the maximum"
    } else if desired == limits.min_workers && desired > 0 {
        ", the minimum"
    } else {
        ""
    };
    let _ = write!(
        sentence,
        ", so {desired} wanted{bound}, {} there: ",
        observation.working()
    );
    let actions = actions(plan);
    sentence += if actions.is_empty() {
        "nothing to do"
    } else {
        &actions
    };
    let failed_boots = observation.failed_boots;
    if let Some(failed) = failed_boots.filter(|failed| observation.now < failed.held_until) {
        let times = counted(failed.in_a_row.into(), "time");
        let _ = write!(
            sentence,
            "; nothing is started for a while, as workers failed to boot {times} in a row"
        );
    }
    sentence
}

fn cause(assessment: &Assessment) -> String {
    match *assessment {
        Assessment::Exact(unanswered) => format!("{} unanswered", counted(unanswered, "request")),
        Assessment::Zero(Zero::Settled) => {
            "nothing is waited for and the queue is empty".to_owned()
        }
        Assessment::Zero(Zero::SettlesAt(_) | Zero::Unconfirmed) => {
            "nothing is waited for, but that may be a moment's pause".to_owned()
        }
        Assessment::Zero(Zero::QueueUnreachable) => {
            "nothing is waited for, though the queue does not confirm it".to_owned()
        }
        Assessment::Zero(Zero::Leftover { messages, .. }) => {
            format!(
                "nobody waits for {} left in the queue",
                counted(messages, "message")
            )
        }
        Assessment::Estimated { messages, .. } => {
            format!(
                "front is unreachable and the queue holds {}",
                counted(messages, "message")
            )
        }
        Assessment::Unknown => "neither front nor the queue can be reached".to_owned(),
    }
}

fn actions(plan: &Plan) -> String {
    let stops = |cause| plan.stop.iter().filter(|stop| stop.cause == cause).count();
    let parts = [
        ("call back", plan.uncordon.len(), ""),
        ("start", plan.start.len(), ""),
        ("launch", plan.launch as usize, ""),
        ("cordon", plan.cordon.len(), ""),
        (
            "stop",
            stops(StopCause::Drained),
            " that confirmed to be idle",
        ),
        ("stop", stops(StopCause::Silent), " that fell silent"),
        (
            "stop",
            stops(StopCause::NeverAttended),
            " whose worker never came up",
        ),
        (
            "terminate",
            stops(StopCause::NeverStarted),
            " that EC2 does not get to run",
        ),
        ("name", plan.rename.len(), ""),
    ];
    let parts = parts.into_iter().filter(|(_, count, _)| *count > 0);
    parts
        .map(|(verb, count, which)| format!("{verb} {count}{which}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
