use proto::names::{WORKER_INSTANCE, worker_instance};
use proto::v1;

use crate::clock::Clock;
use crate::execute::Totals;
use crate::plan::{
    Bounds, Counters, Instance, InstanceId, Moment, Observation, Plan, Policy, Seen, State,
};
use crate::reconcile::Decision;

/// A decision as it goes over the wire.
pub fn encode(decision: &Decision, policy: &Policy, clock: &Clock) -> v1::ScalerStatus {
    v1::ScalerStatus {
        at: Some(timestamp(decision.observation.now, clock)),
        observation: Some(observation(&decision.observation, clock)),
        plan: Some(plan(&decision.plan, policy)),
        bounds: Some(bounds(policy.bounds)),
        totals: Some(totals(decision.totals, clock)),
    }
}

fn observation(observed: &Observation, clock: &Clock) -> v1::Observation {
    v1::Observation {
        unanswered: observed.front.map(|front| front.value.unanswered),
        queue: observed.queue.map(|queue| counters(queue, observed.now)),
        instances: observed
            .instances
            .iter()
            .map(|it| instance(it, clock))
            .collect(),
    }
}

fn counters(queue: Seen<Counters>, now: Moment) -> v1::QueueCounters {
    v1::QueueCounters {
        visible: queue.value.visible,
        in_flight: queue.value.in_flight,
        delayed: queue.value.delayed,
        age: now.since(queue.at).try_into().ok(),
    }
}

fn instance(instance: &Instance, clock: &Clock) -> v1::Instance {
    v1::Instance {
        instance_id: instance.id.to_string(),
        name: instance
            .number
            .map_or_else(|| WORKER_INSTANCE.to_owned(), worker_instance),
        state: state(instance.state).into(),
        since: Some(timestamp(instance.since, clock)),
    }
}

fn state(state: State) -> v1::InstanceState {
    match state {
        State::Stopped => v1::InstanceState::Stopped,
        State::Pending => v1::InstanceState::Pending,
        State::Booting => v1::InstanceState::Booting,
        State::Idle => v1::InstanceState::Idle,
        State::Busy => v1::InstanceState::Busy,
        State::Draining => v1::InstanceState::Draining,
        State::Cordoned => v1::InstanceState::Cordoned,
        State::Stopping => v1::InstanceState::Stopping,
    }
}

fn plan(plan: &Plan, policy: &Policy) -> v1::Plan {
    let texts = |ids: &[InstanceId]| ids.iter().map(ToString::to_string).collect();
    v1::Plan {
        policy: policy.kind.name().to_owned(),
        desired_workers: plan.desired_workers,
        start: texts(&plan.start),
        launch: plan.launch,
        cordon: texts(&plan.cordon),
        uncordon: texts(&plan.uncordon),
        stop: plan.stop.iter().map(|stop| stop.id.to_string()).collect(),
        reason: plan.reason.clone(),
    }
}

fn bounds(bounds: Bounds) -> v1::Bounds {
    v1::Bounds {
        min_workers: bounds.min_workers,
        max_workers: bounds.max_workers,
    }
}

fn totals(totals: Totals, clock: &Clock) -> v1::Totals {
    v1::Totals {
        started: totals.started,
        launched: totals.launched,
        stopped: totals.stopped,
        busy_workers_stopped: totals.busy_workers_stopped,
        silent_workers_stopped: totals.silent_workers_stopped,
        first_start_at: totals.first_start_at.map(|moment| timestamp(moment, clock)),
    }
}

fn timestamp(moment: Moment, clock: &Clock) -> prost_types::Timestamp {
    clock.time_of_day(moment).into()
}
