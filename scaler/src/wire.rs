//! Decisions as they go over the wire and into recordings, and back.
//!
//! What a plan is made from, and the plan itself, survive exactly, so that `scaler replay` can make it again. To keep it
//! so, nothing here skips the rest of a structure with `..`: what is added to one has to be added here.

mod observation;
mod plan;
mod policy;
#[cfg(test)]
pub mod tests;

use std::time::Duration;

use prost_types::Timestamp;
use proto::v1;

use crate::decision_log::stats::Stats;
use crate::decision_log::{Decision, Totals};
use crate::plan::{Memory, Moment, Observation, Plan, Policy, Smoothed};

/// 9999-12-31T23:59:59Z, the last second that a `Timestamp` can hold.
const LAST_SECOND: u64 = 253_402_300_799;
/// The longest `Duration` of protobuf: 10,000 years.
const LONGEST_SECONDS: u64 = 315_576_000_000;

/// A status that is not one of this scaler's.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{what} cannot be {value}")]
    Invalid { what: &'static str, value: String },
    #[error("what the scaler remembered cannot be read: {0}")]
    Memory(#[from] serde_json::Error),
}

/// What a status says of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// 0 when no decision was made yet.
    pub sequence: u64,
    pub policy: Policy,
    pub observation: Observation,
    pub plan: Plan,
    /// What was remembered before the decision; absent when that is what the one before left.
    pub memory: Option<Memory>,
    /// Why no plan was made.
    pub standing_by: Option<String>,
}

/// A decision as a status; `with_memory` adds what was remembered before it.
#[must_use]
pub fn encode(decision: &Decision, with_memory: bool) -> v1::ScalerStatus {
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
            arrival_rate: decision.estimates.arrivals.per_second,
            arrival_trend: decision.estimates.arrivals.trend,
        }),
        policy: Some(policy::encode(policy)),
        paused_by: policy.paused_by.clone(),
        sequence: decision.sequence,
        tally: Some(tally(&decision.stats, decision.observation.billing.spent)),
        memory: match &decision.before {
            Some(memory) if with_memory => serde_json::to_string(memory.as_ref())
                .expect("a memory has only numbers, and maps by text"),
            _ => String::new(),
        },
        standing_by: decision.standing_by.clone(),
    }
}

/// What a plan was made from, and the plan.
///
/// # Errors
/// When the status is incomplete: other programs, or older scalers, may have written it.
pub fn decode(status: &v1::ScalerStatus) -> Result<Recorded, WireError> {
    let now = moment(status.at, "at")?.ok_or(WireError::Missing("at"))?;
    let observed = part(status.observation.as_ref(), "observation")?;
    let policy = policy::decode(
        part(status.policy.as_ref(), "policy")?,
        part(status.bounds.as_ref(), "bounds")?,
        status.paused_by.clone(),
    )?;
    let memory = match status.memory.as_str() {
        "" => None,
        memory => Some(serde_json::from_str(memory)?),
    };
    Ok(Recorded {
        sequence: status.sequence,
        policy,
        observation: observation::decode(observed, now)?,
        plan: plan::decode(part(status.plan.as_ref(), "plan")?)?,
        memory,
        standing_by: status.standing_by.clone(),
    })
}

fn estimate(smoothed: Smoothed) -> v1::Estimate {
    v1::Estimate {
        mean_seconds: smoothed.mean,
        spread_seconds: smoothed.spread,
        samples: smoothed.samples,
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

fn tally(tally: &Stats, spent: f64) -> v1::Tally {
    v1::Tally {
        answered: tally.answered,
        cost_per_thousand: tally.cost_per_thousand(spent),
        busy_since: tally.busy.map(|busy| timestamp(busy.since)),
        busy_predicted: tally.busy.and_then(|busy| busy.predicted).map(duration),
        last_busy_predicted: tally
            .last_busy
            .and_then(|busy| busy.predicted)
            .map(duration),
        last_busy_lasted: tally.last_busy.map(|busy| duration(busy.lasted)),
    }
}

fn part<'a, T>(part: Option<&'a T>, name: &'static str) -> Result<&'a T, WireError> {
    part.ok_or(WireError::Missing(name))
}

/// To the nanosecond; moments past the year 9999 become its last second.
fn timestamp(moment: Moment) -> Timestamp {
    let elapsed = moment.elapsed();
    let seconds = elapsed.as_secs().min(LAST_SECOND);
    Timestamp {
        seconds: seconds.cast_signed(),
        nanos: elapsed.subsec_nanos().cast_signed(),
    }
}

/// # Errors
/// When it is before 1970.
pub fn moment(
    timestamp: Option<Timestamp>,
    what: &'static str,
) -> Result<Option<Moment>, WireError> {
    let Some(Timestamp { seconds, nanos }) = timestamp else {
        return Ok(None);
    };
    let invalid = || WireError::Invalid {
        what,
        value: format!("{seconds} s and {nanos} ns after 1970"),
    };
    let seconds = u64::try_from(seconds).map_err(|_| invalid())?;
    let nanos = u32::try_from(nanos).map_err(|_| invalid())?;
    if nanos >= 1_000_000_000 {
        return Err(invalid());
    }
    Ok(Some(Moment::after_epoch(Duration::new(seconds, nanos))))
}

/// To the nanosecond; what is longer than 10,000 years becomes that.
fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs().min(LONGEST_SECONDS).cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

fn time(
    duration: Option<prost_types::Duration>,
    what: &'static str,
) -> Result<Duration, WireError> {
    let duration = duration.ok_or(WireError::Missing(what))?;
    Duration::try_from(duration).map_err(|_| WireError::Invalid {
        what,
        value: duration.to_string(),
    })
}
