//! Decisions as `muster.v1.ScalerStatus`.
//!
//! No structure is matched with `..` here, so that a new field has to be encoded.

mod observation;
mod plan;
mod policy;
#[cfg(test)]
mod tests;

use std::time::Duration;

use proto::v1;

use crate::decision_log::replay::Recording;
use crate::decision_log::stats::Stats;
use crate::decision_log::{Decision, Totals};
use crate::plan::{Smoothed, Timestamp};

/// 9999-12-31T23:59:59Z, the last second that a `prost_types::Timestamp` can hold.
const LAST_SECOND: u64 = 253_402_300_799;
/// The longest `Duration` of protobuf: 10,000 years.
const LONGEST_SECONDS: u64 = 315_576_000_000;

/// A timestamp out of range.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be {seconds} s and {nanos} ns after 1970")]
pub struct WireError {
    what: &'static str,
    seconds: i64,
    nanos: i32,
}

/// Encodes a decision.
#[must_use]
pub fn encode(decision: &Decision) -> v1::ScalerStatus {
    let policy = &decision.active.policy;
    v1::ScalerStatus {
        at: Some(timestamp(decision.observation.now)),
        observation: Some(observation::encode(&decision.observation)),
        plan: Some(plan::encode(&decision.plan, policy.kind)),
        bounds: Some(policy::encode_bounds(&policy.bounds)),
        totals: Some(totals(decision.totals)),
        estimates: Some(v1::Estimates {
            service: decision.estimates.service.map(estimate),
            boot: decision.estimates.boot.map(estimate),
            frame: decision.estimates.frame.map(estimate),
            arrival_rate: decision.estimates.arrivals.per_second,
            arrival_trend: decision.estimates.arrivals.trend,
        }),
        policy: Some(policy::encode(policy)),
        paused_by: policy.paused_by.clone(),
        sequence: decision.sequence,
        tally: Some(tally(&decision.stats, decision.observation.billing.spent)),
        memory: String::new(),
        standing_by: decision.standing_by.clone(),
    }
}

fn estimate(smoothed: Smoothed) -> v1::Estimate {
    v1::Estimate {
        mean_seconds: smoothed.mean,
        spread_seconds: smoothed.spread,
        samples: smoothed.samples,
        learned: smoothed.learned,
    }
}

fn totals(totals: Totals) -> v1::Totals {
    v1::Totals {
        started: totals.started,
        launched: totals.launched,
        stopped: totals.stopped,
        busy_workers_stopped: totals.busy_workers_stopped,
        silent_workers_stopped: totals.silent_workers_stopped,
        never_attended_stopped: totals.never_attended_stopped,
        terminated: totals.terminated,
        first_start_at: totals.first_start_at.map(timestamp),
    }
}

fn tally(stats: &Stats, spent: f64) -> v1::Stats {
    v1::Stats {
        answered: stats.answered,
        cost_per_thousand: stats.cost_per_thousand(spent),
        busy_since: stats.busy.map(|busy| timestamp(busy.since)),
        busy_predicted: stats.busy.and_then(|busy| busy.predicted).map(duration),
        last_busy_predicted: stats
            .last_busy
            .and_then(|busy| busy.predicted)
            .map(duration),
        last_busy_lasted: stats.last_busy.map(|busy| duration(busy.lasted)),
    }
}

/// Converts to the nanosecond. Times past the year 9999 become its last second.
fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let elapsed = at.elapsed();
    let seconds = elapsed.as_secs().min(LAST_SECOND);
    prost_types::Timestamp {
        seconds: seconds.cast_signed(),
        nanos: elapsed.subsec_nanos().cast_signed(),
    }
}

/// Encodes a decision with what `scaler replay` needs to repeat it; `with_memory` includes the memory before it.
#[must_use]
pub fn record(decision: &Decision, with_memory: bool) -> v1::ScalerStatus {
    v1::ScalerStatus {
        memory: Recording::of(decision, with_memory).to_json(),
        ..encode(decision)
    }
}

/// Decodes a timestamp.
///
/// # Errors
/// When it is before 1970, or malformed.
pub fn decode_timestamp(
    timestamp: Option<prost_types::Timestamp>,
    what: &'static str,
) -> Result<Option<Timestamp>, WireError> {
    let Some(prost_types::Timestamp { seconds, nanos }) = timestamp else {
        return Ok(None);
    };
    let invalid = || WireError {
        what,
        seconds,
        nanos,
    };
    let seconds = u64::try_from(seconds).map_err(|_| invalid())?;
    let nanos = u32::try_from(nanos).map_err(|_| invalid())?;
    if nanos >= 1_000_000_000 {
        return Err(invalid());
    }
    Ok(Some(Timestamp::after_epoch(Duration::new(seconds, nanos))))
}

/// Converts to the nanosecond. Longer than 10,000 years becomes 10,000 years.
fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs().min(LONGEST_SECONDS).cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}
