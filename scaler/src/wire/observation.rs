use proto::names::{WORKER_INSTANCE, worker_instance};
use proto::v1;

use super::{WireError, duration, moment, timestamp};
use crate::plan::{
    Billing, Counters, FailedBoots, FrontDemand, Held, Instance, InstanceId, Moment, Observation,
    Seen, State,
};

pub fn encode(observation: &Observation) -> v1::Observation {
    let Observation {
        now,
        front,
        queue,
        instances,
        launching,
        described_at,
        failed_boots,
        held,
        billing,
    } = observation;
    v1::Observation {
        unanswered: front.map(|front| front.value.unanswered),
        queue: queue.map(|queue| counters(queue, *now)),
        instances: instances.iter().map(instance).collect(),
        front: front.map(|front| demand(front, *now)),
        launching: *launching,
        described_at: described_at.map(timestamp),
        failed_boots: failed_boots.map(|failed| {
            let FailedBoots {
                in_a_row,
                held_until,
            } = failed;
            v1::FailedBoots {
                in_a_row,
                held_until: Some(timestamp(held_until)),
            }
        }),
        held: Some(encode_held(*held)),
        billing: Some(encode_billing(*billing)),
    }
}

pub fn decode(observation: &v1::Observation, now: Moment) -> Result<Observation, WireError> {
    let held = observation.held.unwrap_or_default();
    let billing = observation.billing.unwrap_or_default();
    let instances = observation.instances.iter().map(decode_instance);
    Ok(Observation {
        now,
        front: observation.front.map(decode_demand).transpose()?,
        queue: observation.queue.map(decode_counters).transpose()?,
        instances: instances.collect::<Result<_, _>>()?,
        launching: observation.launching,
        described_at: moment(observation.described_at, "described_at")?,
        failed_boots: observation
            .failed_boots
            .map(decode_failed_boots)
            .transpose()?,
        held: Held {
            start: moment(held.start, "held.start")?,
            launch: moment(held.launch, "held.launch")?,
            stop: moment(held.stop, "held.stop")?,
            rename: moment(held.rename, "held.rename")?,
        },
        billing: Billing {
            spent: billing.spent,
            still_paid: billing.still_paid,
            paid_off_at: moment(billing.paid_off_at, "paid_off_at")?,
        },
    })
}

fn demand(front: Seen<FrontDemand>, now: Moment) -> v1::FrontCounters {
    let FrontDemand {
        unanswered,
        accepted_total,
        answered_total,
    } = front.value;
    v1::FrontCounters {
        unanswered,
        accepted_total,
        answered_total,
        at: Some(timestamp(front.at)),
        age: Some(duration(now.since(front.at))),
    }
}

fn decode_demand(front: v1::FrontCounters) -> Result<Seen<FrontDemand>, WireError> {
    Ok(Seen {
        value: FrontDemand {
            unanswered: front.unanswered,
            accepted_total: front.accepted_total,
            answered_total: front.answered_total,
        },
        at: moment(front.at, "front.at")?.ok_or(WireError::Missing("front.at"))?,
    })
}

fn counters(queue: Seen<Counters>, now: Moment) -> v1::QueueCounters {
    let Counters {
        visible,
        in_flight,
        delayed,
    } = queue.value;
    v1::QueueCounters {
        visible,
        in_flight,
        delayed,
        age: Some(duration(now.since(queue.at))),
        at: Some(timestamp(queue.at)),
    }
}

fn decode_counters(queue: v1::QueueCounters) -> Result<Seen<Counters>, WireError> {
    Ok(Seen {
        value: Counters {
            visible: queue.visible,
            in_flight: queue.in_flight,
            delayed: queue.delayed,
        },
        at: moment(queue.at, "queue.at")?.ok_or(WireError::Missing("queue.at"))?,
    })
}

fn encode_held(held: Held) -> v1::Held {
    let Held {
        start,
        launch,
        stop,
        rename,
    } = held;
    v1::Held {
        start: start.map(timestamp),
        launch: launch.map(timestamp),
        stop: stop.map(timestamp),
        rename: rename.map(timestamp),
    }
}

fn encode_billing(billing: Billing) -> v1::Billing {
    let Billing {
        spent,
        still_paid,
        paid_off_at,
    } = billing;
    v1::Billing {
        spent,
        still_paid,
        paid_off_at: paid_off_at.map(timestamp),
    }
}

fn decode_failed_boots(failed: v1::FailedBoots) -> Result<FailedBoots, WireError> {
    let held_until = moment(failed.held_until, "failed_boots.held_until")?;
    Ok(FailedBoots {
        in_a_row: failed.in_a_row,
        held_until: held_until.ok_or(WireError::Missing("failed_boots.held_until"))?,
    })
}

fn instance(instance: &Instance) -> v1::Instance {
    let Instance {
        id,
        number,
        state,
        since,
        heard,
        started_at,
        running_since,
        listed,
        leaving,
    } = instance;
    v1::Instance {
        instance_id: id.to_string(),
        name: number.map_or_else(|| WORKER_INSTANCE.to_owned(), worker_instance),
        state: encode_state(*state).into(),
        since: Some(timestamp(*since)),
        number: *number,
        heard: heard.map(timestamp),
        started_at: started_at.map(timestamp),
        running_since: running_since.map(timestamp),
        listed: *listed,
        leaving: *leaving,
    }
}

fn decode_instance(instance: &v1::Instance) -> Result<Instance, WireError> {
    Ok(Instance {
        id: InstanceId::from(instance.instance_id.as_str()),
        number: instance.number,
        state: decode_state(instance.state())?,
        since: moment(instance.since, "since")?.ok_or(WireError::Missing("since"))?,
        heard: moment(instance.heard, "heard")?,
        started_at: moment(instance.started_at, "started_at")?,
        running_since: moment(instance.running_since, "running_since")?,
        listed: instance.listed,
        leaving: instance.leaving,
    })
}

fn encode_state(state: State) -> v1::InstanceState {
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

fn decode_state(state: v1::InstanceState) -> Result<State, WireError> {
    Ok(match state {
        v1::InstanceState::Stopped => State::Stopped,
        v1::InstanceState::Pending => State::Pending,
        v1::InstanceState::Booting => State::Booting,
        v1::InstanceState::Idle => State::Idle,
        v1::InstanceState::Busy => State::Busy,
        v1::InstanceState::Draining => State::Draining,
        v1::InstanceState::Cordoned => State::Cordoned,
        v1::InstanceState::Stopping => State::Stopping,
        v1::InstanceState::Unspecified => return Err(WireError::Missing("an instance's state")),
    })
}
