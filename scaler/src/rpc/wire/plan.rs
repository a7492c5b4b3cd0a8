use proto::v1;

use super::{duration, timestamp};
use crate::plan::{Alternative, InstanceId, Plan, PolicyKind, StopCause};

pub fn encode(plan: &Plan, kind: PolicyKind) -> v1::Plan {
    let Plan {
        desired_workers,
        start,
        launch,
        cordon,
        uncordon,
        stop,
        rename,
        reason,
        rejected,
        completes_in,
        wake_at,
    } = plan;
    let texts = |ids: &[InstanceId]| ids.iter().map(ToString::to_string).collect();
    v1::Plan {
        policy: kind.name().to_owned(),
        desired_workers: *desired_workers,
        start: texts(start),
        launch: *launch,
        cordon: texts(cordon),
        uncordon: texts(uncordon),
        stop: stop.iter().map(|stop| stop.id.to_string()).collect(),
        reason: reason.clone(),
        rejected: rejected.iter().map(alternative).collect(),
        completes_in: completes_in.map(duration),
        stop_causes: stop.iter().map(|stop| cause(stop.cause).into()).collect(),
        rename: rename
            .iter()
            .map(|(id, number)| renamed(id, *number))
            .collect(),
        wake_at: wake_at.map(timestamp),
    }
}

fn alternative(alternative: &Alternative) -> v1::Alternative {
    let Alternative { workers, reason } = alternative;
    v1::Alternative {
        workers: *workers,
        reason: reason.clone(),
    }
}

fn renamed(id: &InstanceId, number: u32) -> v1::Rename {
    v1::Rename {
        instance_id: id.to_string(),
        number,
    }
}

fn cause(cause: StopCause) -> v1::StopCause {
    match cause {
        StopCause::Drained => v1::StopCause::Drained,
        StopCause::Silent => v1::StopCause::Silent,
        StopCause::NeverAttended => v1::StopCause::NeverAttended,
        StopCause::NeverStarted => v1::StopCause::NeverStarted,
        StopCause::Outdated => v1::StopCause::Outdated,
        StopCause::OutdatedStopped => v1::StopCause::OutdatedStopped,
    }
}
