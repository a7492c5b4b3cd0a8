use proto::v1;

use super::{WireError, duration, moment, time, timestamp};
use crate::plan::{Alternative, InstanceId, Plan, PolicyKind, Stop, StopCause};

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

pub fn decode(plan: &v1::Plan) -> Result<Plan, WireError> {
    let ids = |texts: &[String]| texts.iter().map(|id| id.as_str().into()).collect();
    if plan.stop.len() != plan.stop_causes.len() {
        return Err(WireError::Missing("a stop's cause"));
    }
    let stops = plan.stop.iter().zip(plan.stop_causes()).map(|(id, cause)| {
        Ok(Stop {
            id: id.as_str().into(),
            cause: decode_cause(cause)?,
        })
    });
    Ok(Plan {
        desired_workers: plan.desired_workers,
        start: ids(&plan.start),
        launch: plan.launch,
        cordon: ids(&plan.cordon),
        uncordon: ids(&plan.uncordon),
        stop: stops.collect::<Result<_, WireError>>()?,
        rename: plan
            .rename
            .iter()
            .map(|it| (it.instance_id.as_str().into(), it.number))
            .collect(),
        reason: plan.reason.clone(),
        rejected: plan
            .rejected
            .iter()
            .map(|it| Alternative {
                workers: it.workers,
                reason: it.reason.clone(),
            })
            .collect(),
        completes_in: match plan.completes_in {
            Some(_) => Some(time(plan.completes_in, "completes_in")?),
            None => None,
        },
        wake_at: moment(plan.wake_at, "wake_at")?,
    })
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
    }
}

fn decode_cause(cause: v1::StopCause) -> Result<StopCause, WireError> {
    match cause {
        v1::StopCause::Drained => Ok(StopCause::Drained),
        v1::StopCause::Silent => Ok(StopCause::Silent),
        v1::StopCause::NeverAttended => Ok(StopCause::NeverAttended),
        v1::StopCause::NeverStarted => Ok(StopCause::NeverStarted),
        v1::StopCause::Unspecified => Err(WireError::Missing("a stop's cause")),
    }
}
