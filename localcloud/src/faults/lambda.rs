//! Faults of Lambda's environments.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FaultsError, check_probability, millis};

/// The faults of environments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LambdaFaults {
    /// The time by which each start of an environment takes longer.
    #[serde(rename = "start_delay_ms", with = "millis")]
    pub start_delay: Duration,
    /// The probability that an invocation's processes are killed while it runs.
    pub crash: f64,
}

const MAX_START_DELAY: Duration = Duration::from_secs(600);

impl LambdaFaults {
    /// Checks that each value is within its bounds.
    ///
    /// # Errors
    /// Names the first value out of bounds.
    pub(super) fn check(&self) -> Result<(), FaultsError> {
        check_probability("lambda.crash", self.crash)?;
        if self.start_delay > MAX_START_DELAY {
            return Err(FaultsError::StartDelay);
        }
        Ok(())
    }
}
