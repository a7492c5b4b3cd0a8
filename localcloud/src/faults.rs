//! Fault injection: what AWS does to its callers on a bad day, by choice and by seed. The default has no faults.
//!
//! Every random decision is drawn from [`FaultRng`]: the same seed and the same calls in the same order meet the same faults.

mod calls;
mod ec2;
mod lambda;
mod latency;
mod rate_limits;
mod rng;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::toml_file::{self, FileError};

pub use calls::{CallFault, CallFaults, FaultOutcome, InjectedFault, When};
pub use ec2::{Capacity, DEFAULT_SPOT_NOTICE, Ec2Faults};
pub use lambda::LambdaFaults;
pub use latency::Latency;
pub use rate_limits::{RateLimits, RateLimitsPreset};
pub use rng::FaultRng;

/// All faults, as a TOML file or the JSON of the admin endpoint states them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// The seed of all random decisions.
    pub seed: u64,
    /// Faults of any call. All that match a call apply, in this order.
    pub call: Vec<CallFault>,
    pub sqs: SqsFaults,
    pub ec2: Ec2Faults,
    pub lambda: LambdaFaults,
}

/// The faults that SQS has because it is a distributed system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqsFaults {
    /// The age of the approximate counters in milliseconds, at most a minute.
    pub counter_lag_ms: u64,
    /// The probability that a received message stays available.
    pub duplicate: f64,
    /// The probability that a deleted message comes back once, after its visibility timeout.
    pub deliver_after_delete: f64,
    /// The probability that a short poll returns nothing although messages are available.
    pub empty_receive: f64,
}

/// Why faults cannot be used.
#[derive(Debug, Error)]
pub enum FaultsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{name} is {value}: a probability is from 0 to 1")]
    Probability { name: String, value: f64 },
    #[error("sqs.counter_lag_ms is {0}: at most 60000, a minute")]
    CounterLag(u64),
    #[error("{0}: latencies are from 0 to 600000 milliseconds, and their spread is not negative")]
    Latency(String),
    #[error("ec2.{0} is too long: at most 86400000, a day")]
    Duration(&'static str),
    #[error("lambda.start_delay_ms is too long: at most 600000, ten minutes")]
    StartDelay,
    #[error("{0} changes nothing: set latency_ms, limit, error or reset")]
    NoEffect(String),
    #[error("{0} must be an HTTP status from 400 to 599")]
    Status(String),
    #[error("{0:?} has no such limit, or localcloud has no such action")]
    LimitedAction(String),
    #[error(
        "the limit of {0:?} must have a size of at least 1 token and a refill of 0 to 1e9 tokens per second"
    )]
    RateLimit(String),
    #[error("two capacities cover the same instances; the second is {0}")]
    DuplicateCapacity(String),
}

/// AWS documents that the counters settle within a minute after senders stop.
const MAX_COUNTER_LAG_MS: u64 = 60_000;

impl From<Ec2Faults> for Faults {
    fn from(ec2: Ec2Faults) -> Self {
        Self {
            ec2,
            ..Self::default()
        }
    }
}

impl From<SqsFaults> for Faults {
    fn from(sqs: SqsFaults) -> Self {
        Self {
            sqs,
            ..Self::default()
        }
    }
}

impl Faults {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read, or its content fails `check`.
    pub fn read(path: &Path) -> Result<Self, FaultsError> {
        let faults: Self = toml_file::read(path)?;
        faults.check()?;
        Ok(faults)
    }

    /// Checks that every value is within its bounds.
    ///
    /// # Errors
    /// Names the first value out of bounds.
    pub fn check(&self) -> Result<(), FaultsError> {
        for (index, fault) in self.call.iter().enumerate() {
            fault.check(index)?;
        }
        let sqs = &self.sqs;
        check_probability("sqs.duplicate", sqs.duplicate)?;
        check_probability("sqs.deliver_after_delete", sqs.deliver_after_delete)?;
        check_probability("sqs.empty_receive", sqs.empty_receive)?;
        if sqs.counter_lag_ms > MAX_COUNTER_LAG_MS {
            return Err(FaultsError::CounterLag(sqs.counter_lag_ms));
        }
        self.lambda.check()?;
        self.ec2.check()
    }
}

fn check_probability(name: &str, value: f64) -> Result<(), FaultsError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(FaultsError::Probability {
        name: name.to_owned(),
        value,
    })
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u64::deserialize(from)?))
    }
}
