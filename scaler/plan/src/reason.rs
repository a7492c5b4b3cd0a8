use std::fmt::Write;

use crate::demand::{Assessment, ZeroDemand};
use crate::frames::FrameDemand;
use crate::{Estimates, Observation, Plan, Policy, StopCause};

/// Returns the plan's sentence: the demand, what follows from it, and what is done. `estimates` are absent where the policy
/// does not use them.
pub(crate) fn sentence(
    policy: &Policy,
    observation: &Observation,
    assessment: &Assessment,
    frames: FrameDemand,
    estimates: Option<&Estimates>,
    plan: &Plan,
) -> String {
    let mut sentence = cause(assessment);
    if let (Assessment::Exact(_), Some(service)) = (assessment, estimates.and_then(|it| it.service))
    {
        let _ = write!(sentence, ", {service} each");
    }
    if frames.frames > 0 {
        let _ = write!(
            sentence,
            ", and {} of clips",
            counted(frames.frames, "frame")
        );
        if frames.is_bounded {
            let _ = write!(
                sentence,
                " for at most {}",
                counted(frames.workers.into(), "worker")
            );
        }
    }
    let desired = plan.desired_workers;
    let limits = policy.limits(observation.time_of_day(), observation.billing.still_paid);
    let bound = if desired == limits.max_workers && desired < policy.bounds.max_workers {
        ", all that the budget pays for"
    } else if desired == limits.max_workers {
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
    let boots = plan.launch > 0 || !plan.start.is_empty();
    if let (true, Some(boot)) = (boots, estimates.and_then(|it| it.boot)) {
        let _ = write!(sentence, "; a boot takes {boot}");
    }
    let failed_boots = observation.failed_boots;
    if let Some(failed) = failed_boots.filter(|failed| observation.now < failed.held_until) {
        let times = counted(failed.in_a_row.into(), "time");
        let _ = write!(
            sentence,
            "; starts pause for a while: workers failed to boot {times} in a row"
        );
    }
    name_refused_calls(&mut sentence, observation);
    name_old_list(&mut sentence, policy, observation);
    sentence
}

/// Names a list of EC2 that is no ground to launch, cordon or stop.
fn name_old_list(sentence: &mut String, policy: &Policy, observation: &Observation) {
    if !observation.is_described_to_leader() {
        *sentence += "; EC2 has not listed the instances since this scaler leads";
    } else if !observation.fleet_is_fresh(&policy.timeouts) {
        let age = observation.described_at.map(|at| observation.now.since(at));
        let seconds = age.unwrap_or_default().as_secs();
        let _ = write!(sentence, "; EC2's last list is {seconds} s old");
    }
}

fn name_refused_calls(sentence: &mut String, observation: &Observation) {
    let held = &observation.call_backoff;
    let calls = [
        ("start", held.start, &held.refused.start),
        ("launch", held.launch, &held.refused.launch),
        ("stop", held.stop, &held.refused.stop),
        ("rename", held.rename, &held.refused.rename),
    ];
    for (call, held_until, refused) in calls {
        if let Some(why) = refused
            && held_until.is_some_and(|until| observation.now < until)
        {
            let _ = write!(sentence, "; the last {call} failed: {why}");
        }
    }
}

fn cause(assessment: &Assessment) -> String {
    match *assessment {
        Assessment::Exact(unanswered) => format!("{} unanswered", counted(unanswered, "request")),
        Assessment::Zero(ZeroDemand::Settled) => {
            "no requests pending and the queue is empty".to_owned()
        }
        Assessment::Zero(ZeroDemand::SettlesAt(_) | ZeroDemand::Unconfirmed) => {
            "no requests pending; waiting in case load returns".to_owned()
        }
        Assessment::Zero(ZeroDemand::QueueUnreachable) => {
            "no requests pending, but the queue cannot be reached".to_owned()
        }
        Assessment::Zero(ZeroDemand::Leftover { messages, .. }) => {
            format!(
                "no requests pending, but the queue holds {}",
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
        ("uncordon", plan.uncordon.len(), ""),
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
            " that EC2 does not bring up",
        ),
        (
            "terminate",
            stops(StopCause::Outdated) + stops(StopCause::OutdatedStopped),
            " whose image or settings are old",
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
