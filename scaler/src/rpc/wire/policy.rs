use proto::v1;

use super::duration;
use crate::plan::{Bounds, KeepIdle, Policy, Prices, Targets, Timeouts, Video, Window};

/// Encodes everything except the bounds and `paused_by`, which are fields of the status.
pub fn encode(policy: &Policy) -> v1::Policy {
    let Policy {
        kind,
        bounds: _,
        timeouts,
        targets,
        prices,
        schedule,
        paused_by: _,
        video,
    } = policy;
    let Video {
        target,
        max_workers,
    } = *video;
    let Targets {
        latency,
        service_time,
        boot_time,
    } = *targets;
    let Prices { per_hour, minimum } = *prices;
    v1::Policy {
        name: kind.name().to_owned(),
        latency_target: Some(duration(latency)),
        assumed_service_time: Some(duration(service_time)),
        assumed_boot_time: Some(duration(boot_time)),
        price_per_hour: per_hour,
        billed_minimum: Some(duration(minimum)),
        patience: Some(encode_timeouts(timeouts)),
        schedule: schedule.iter().map(encode_window).collect(),
        video_target: Some(duration(target)),
        video_max_workers: max_workers,
    }
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

fn encode_timeouts(timeouts: &Timeouts) -> v1::Timeouts {
    let Timeouts {
        idle_time,
        settle,
        silence_deadline,
        boot_deadline,
        front_stale_after,
        queue_stale_after,
        fleet_stale_after,
        stopping_timeout,
        leftover_timeout,
        keep_idle,
    } = *timeouts;
    v1::Timeouts {
        idle_time: Some(duration(idle_time)),
        settle: Some(duration(settle)),
        silence_deadline: Some(duration(silence_deadline)),
        boot_deadline: Some(duration(boot_deadline)),
        front_stale_after: Some(duration(front_stale_after)),
        queue_stale_after: Some(duration(queue_stale_after)),
        fleet_stale_after: Some(duration(fleet_stale_after)),
        stopping_patience: Some(duration(stopping_timeout)),
        leftover_patience: Some(duration(leftover_timeout)),
        keep_idle: match keep_idle {
            KeepIdle::Auto => None,
            KeepIdle::AtMost(most) => Some(duration(most)),
        },
    }
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
