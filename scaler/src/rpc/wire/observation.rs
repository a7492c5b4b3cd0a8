use proto::names::{WORKER_INSTANCE, worker_instance};
use proto::v1;

use super::{duration, timestamp};
use crate::plan::{
    Billing, CallBackoff, Counters, FailedBoots, FrontDemand, Instance, InstanceState, LeftOut,
    Observation, Timestamp, Timestamped,
};

pub fn encode(observation: &Observation) -> v1::Observation {
    let Observation {
        now,
        // Only the limits depend on it.
        wall_clock: _,
        front,
        queue,
        instances,
        left_out,
        launching,
        described_at,
        // The reason names a list that is too old.
        described_in: _,
        // The reason tells whether this scaler leads.
        leads_since: _,
        failed_boots,
        call_backoff,
        billing,
        // The estimates begin with it.
        learned: _,
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
        held: Some(encode_call_backoff(call_backoff)),
        billing: Some(encode_billing(*billing)),
        left_out: left_out.iter().map(left_out_instance).collect(),
    }
}

fn left_out_instance(instance: &LeftOut) -> v1::LeftOutInstance {
    let LeftOut {
        id,
        number,
        reason,
        until,
    } = instance;
    v1::LeftOutInstance {
        instance_id: id.to_string(),
        name: name(*number),
        reason: reason.clone(),
        until: until.map(timestamp),
    }
}

fn name(number: Option<u32>) -> String {
    number.map_or_else(|| WORKER_INSTANCE.to_owned(), worker_instance)
}

fn demand(front: Timestamped<FrontDemand>, now: Timestamp) -> v1::FrontCounters {
    let FrontDemand {
        unanswered,
        accepted_total,
        answered_total,
        waiting_frames,
        frames_done_total,
    } = front.value;
    v1::FrontCounters {
        unanswered,
        accepted_total,
        answered_total,
        waiting_frames,
        frames_done_total,
        at: Some(timestamp(front.at)),
        age: Some(duration(now.since(front.at))),
    }
}

fn counters(queue: Timestamped<Counters>, now: Timestamp) -> v1::QueueCounters {
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

fn encode_call_backoff(call_backoff: &CallBackoff) -> v1::CallBackoff {
    let CallBackoff {
        start,
        launch,
        stop,
        rename,
        // The plan's reason names it.
        refused: _,
    } = *call_backoff;
    v1::CallBackoff {
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
        outdated,
    } = instance;
    v1::Instance {
        instance_id: id.to_string(),
        name: name(*number),
        state: encode_state(*state).into(),
        since: Some(timestamp(*since)),
        number: *number,
        heard: heard.map(timestamp),
        started_at: started_at.map(timestamp),
        running_since: running_since.map(timestamp),
        listed: *listed,
        leaving: *leaving,
        outdated: *outdated,
    }
}

fn encode_state(state: InstanceState) -> v1::InstanceState {
    match state {
        InstanceState::Stopped => v1::InstanceState::Stopped,
        InstanceState::Pending => v1::InstanceState::Pending,
        InstanceState::Booting => v1::InstanceState::Booting,
        InstanceState::Idle => v1::InstanceState::Idle,
        InstanceState::Busy => v1::InstanceState::Busy,
        InstanceState::Draining => v1::InstanceState::Draining,
        InstanceState::Cordoned => v1::InstanceState::Cordoned,
        InstanceState::Stopping => v1::InstanceState::Stopping,
    }
}
