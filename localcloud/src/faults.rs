//! How unkind the services are: what AWS does to its callers on a bad day, by choice and by seed. Off by default.
//!
//! Whatever is left to chance is drawn from [`Dice`], so that the same seed and the same calls in the same order meet
//! the same faults.

mod calls;
mod dice;
mod ec2;
mod latency;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use calls::{CallFault, CallFaults, Outcome, Service, Verdict, When};
pub use dice::Dice;
pub use ec2::{Bucket, Capacity, Ec2Settings, Limits, LimitsPreset};
pub use latency::Latency;

/// All faults, as a TOML file or the admin endpoint's JSON states them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// What chance begins from.
    pub seed: u64,
    /// What may happen to any call. All that match a call apply, in this order.
    pub call: Vec<CallFault>,
    pub sqs: SqsFaults,
    pub ec2: Ec2Settings,
}

/// What SQS may do because it is a distributed system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqsFaults {
    /// The approximate counters say what was true so many milliseconds ago; at most a minute.
    pub counter_lag_ms: u64,
    /// Probability that a message stays available although it was handed out.
    pub duplicate: f64,
    /// Probability that a deleted message comes back once, after its visibility timeout.
    pub deliver_after_delete: f64,
    /// Probability that a short poll answers nothing although messages wait.
    pub empty_receive: f64,
}

/// Why faults cannot be used.
#[derive(Debug, Error)]
pub enum FaultsError {
    #[error("cannot read {path}: {error}")]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("cannot read {path}: {error}")]
    Parse {
        path: PathBuf,
        error: Box<toml::de::Error>,
    },
    #[error("{name} is a probability, from 0 to 1, and not {value}")]
    Probability { name: String, value: f64 },
    #[error("sqs.counter_lag_ms is at most 60000, a minute, and not {0}")]
    CounterLag(u64),
    #[error("{0}: latencies are from 0 to 600000 milliseconds, and their spread is not negative")]
    Latency(String),
    #[error("ec2.{0} is at most 86400000, a day")]
    Duration(&'static str),
    #[error("{0} changes nothing: give it latency_ms, limit, error or reset")]
    NoEffect(String),
    #[error("{0} is an HTTP status from 400 to 599")]
    Status(String),
    #[error("EC2 has no such limit, or localcloud no such action: {0:?}")]
    LimitedAction(String),
    #[error(
        "the bucket of {0:?} must hold at least 1 token and be refilled with 0 to 1e9 tokens a second"
    )]
    Bucket(String),
    #[error("two capacities cover the same instances, the second being {0}")]
    DuplicateCapacity(String),
}

/// AWS says that the counters settle within a minute after senders stop.
const MOST_COUNTER_LAG_MS: u64 = 60_000;

impl From<Ec2Settings> for Faults {
    fn from(ec2: Ec2Settings) -> Self {
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
    /// When the file cannot be read, or what it says fails `check`.
    pub fn read(path: &Path) -> Result<Self, FaultsError> {
        let text = std::fs::read_to_string(path).map_err(|error| FaultsError::Read {
            path: path.to_owned(),
            error,
        })?;
        let faults: Self = toml::from_str(&text).map_err(|error| FaultsError::Parse {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        faults.check()?;
        Ok(faults)
    }

    /// Checks that everything is in its bounds.
    ///
    /// # Errors
    /// Names the first fault that is not.
    pub fn check(&self) -> Result<(), FaultsError> {
        for (index, fault) in self.call.iter().enumerate() {
            fault.check(index)?;
        }
        let sqs = &self.sqs;
        check_probability("sqs.duplicate", sqs.duplicate)?;
        check_probability("sqs.deliver_after_delete", sqs.deliver_after_delete)?;
        check_probability("sqs.empty_receive", sqs.empty_receive)?;
        if sqs.counter_lag_ms > MOST_COUNTER_LAG_MS {
            return Err(FaultsError::CounterLag(sqs.counter_lag_ms));
        }
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
