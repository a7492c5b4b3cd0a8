use proto::v1;

use super::{WireError, duration, time};
use crate::plan::{Bounds, Goal, KeepIdle, Patience, Policy, PolicyKind, Prices, Window};

/// Everything except the bounds and who has paused it, which have places of their own.
pub fn encode(policy: &Policy) -> v1::Policy {
    let Policy {
        kind,
        bounds: _,
        patience,
        goal,
        prices,
        schedule,
        paused_by: _,
    } = policy;
    let Goal {
        latency,
        service_time,
        boot_time,
    } = *goal;
    let Prices { per_hour, minimum } = *prices;
    v1::Policy {
        name: kind.name().to_owned(),
        latency_target: Some(duration(latency)),
        assumed_service_time: Some(duration(service_time)),
        assumed_boot_time: Some(duration(boot_time)),
        price_per_hour: per_hour,
        billed_minimum: Some(duration(minimum)),
        patience: Some(encode_patience(patience)),
        schedule: schedule.iter().map(encode_window).collect(),
    }
}

pub fn decode(
    policy: &v1::Policy,
    bounds: &v1::Bounds,
    paused_by: Option<String>,
) -> Result<Policy, WireError> {
    let kind = policy
        .name
        .parse::<PolicyKind>()
        .map_err(|_| WireError::Invalid {
            what: "the policy",
            value: policy.name.clone(),
        })?;
    let patience = policy
        .patience
        .as_ref()
        .ok_or(WireError::Missing("patience"))?;
    Ok(Policy {
        kind,
        bounds: decode_bounds(bounds)?,
        patience: decode_patience(patience)?,
        goal: Goal {
            latency: time(policy.latency_target, "latency_target")?,
            service_time: time(policy.assumed_service_time, "assumed_service_time")?,
            boot_time: time(policy.assumed_boot_time, "assumed_boot_time")?,
        },
        prices: Prices {
            per_hour: policy.price_per_hour,
            minimum: time(policy.billed_minimum, "billed_minimum")?,
        },
        schedule: policy
            .schedule
            .iter()
            .map(decode_window)
            .collect::<Result<_, _>>()?,
        paused_by,
    })
}

pub fn encode_bounds(bounds: &Bounds) -> v1::Bounds {
    let Bounds {
        min_workers,
        max_workers,
        budget_per_hour,
        warm_pool,
        scale_out_cooldown,
        scale_in_cooldown,
    } = *bounds;
    v1::Bounds {
        min_workers,
        max_workers,
        budget_per_hour,
        warm_pool,
        scale_out_cooldown: Some(duration(scale_out_cooldown)),
        scale_in_cooldown: Some(duration(scale_in_cooldown)),
    }
}

fn decode_bounds(bounds: &v1::Bounds) -> Result<Bounds, WireError> {
    Ok(Bounds {
        min_workers: bounds.min_workers,
        max_workers: bounds.max_workers,
        budget_per_hour: bounds.budget_per_hour,
        warm_pool: bounds.warm_pool,
        scale_out_cooldown: time(bounds.scale_out_cooldown, "scale_out_cooldown")?,
        scale_in_cooldown: time(bounds.scale_in_cooldown, "scale_in_cooldown")?,
    })
}

fn encode_patience(patience: &Patience) -> v1::Patience {
    let Patience {
        idle_time,
        settle,
        silence_deadline,
        boot_deadline,
        front_stale_after,
        queue_stale_after,
        fleet_stale_after,
        stopping_patience,
        leftover_patience,
        keep_idle,
    } = *patience;
    v1::Patience {
        idle_time: Some(duration(idle_time)),
        settle: Some(duration(settle)),
        silence_deadline: Some(duration(silence_deadline)),
        boot_deadline: Some(duration(boot_deadline)),
        front_stale_after: Some(duration(front_stale_after)),
        queue_stale_after: Some(duration(queue_stale_after)),
        fleet_stale_after: Some(duration(fleet_stale_after)),
        stopping_patience: Some(duration(stopping_patience)),
        leftover_patience: Some(duration(leftover_patience)),
        keep_idle: match keep_idle {
            KeepIdle::Auto => None,
            KeepIdle::AtMost(most) => Some(duration(most)),
        },
    }
}

fn decode_patience(patience: &v1::Patience) -> Result<Patience, WireError> {
    Ok(Patience {
        idle_time: time(patience.idle_time, "idle_time")?,
        settle: time(patience.settle, "settle")?,
        silence_deadline: time(patience.silence_deadline, "silence_deadline")?,
        boot_deadline: time(patience.boot_deadline, "boot_deadline")?,
        front_stale_after: time(patience.front_stale_after, "front_stale_after")?,
        queue_stale_after: time(patience.queue_stale_after, "queue_stale_after")?,
        fleet_stale_after: time(patience.fleet_stale_after, "fleet_stale_after")?,
        stopping_patience: time(patience.stopping_patience, "stopping_patience")?,
        leftover_patience: time(patience.leftover_patience, "leftover_patience")?,
        keep_idle: match patience.keep_idle {
            None => KeepIdle::Auto,
            most => KeepIdle::AtMost(time(most, "keep_idle")?),
        },
    })
}

fn encode_window(window: &Window) -> v1::Window {
    let Window {
        from,
        to,
        min_workers,
    } = *window;
    v1::Window {
        from: Some(duration(from)),
        to: Some(duration(to)),
        min_workers,
    }
}

fn decode_window(window: &v1::Window) -> Result<Window, WireError> {
    Ok(Window {
        from: time(window.from, "a window's begin")?,
        to: time(window.to, "a window's end")?,
        min_workers: window.min_workers,
    })
}
