//! The faults of EC2: rate limits, capacity, delays, failed boots and interruptions. The default has none.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FaultsError, RateLimits, check_probability, millis};

/// The faults that EC2 injects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ec2Faults {
    /// How often each action may be called.
    pub limits: RateLimits,
    /// The capacity for instances, by type and subnet. A launch or start must fit into every entry that covers it.
    pub capacity: Vec<Capacity>,
    /// The time after its launch in which an instance is unknown to every call but its launch.
    #[serde(rename = "describe_lag_ms", with = "millis")]
    pub describe_lag: Duration,
    /// The time that an instance is `pending` before its process starts. `Config::start_interval` adds to it.
    #[serde(rename = "boot_delay_ms", with = "millis")]
    pub boot_delay: Duration,
    /// Each boot takes longer by a random part of this.
    #[serde(rename = "boot_delay_spread_ms", with = "millis")]
    pub boot_delay_spread: Duration,
    /// The time that an instance is `stopping` or `shutting-down` after its process has ended.
    #[serde(rename = "stop_delay_ms", with = "millis")]
    pub stop_delay: Duration,
    /// Each stop and termination takes longer by a random part of this.
    #[serde(rename = "stop_delay_spread_ms", with = "millis")]
    pub stop_delay_spread: Duration,
    /// The time after a boot in which the status checks are `initializing`.
    #[serde(rename = "status_check_ms", with = "millis")]
    pub status_check: Duration,
    /// The probability that a spot instance is interrupted, drawn at each start.
    pub spot_interruption: f64,
    /// The time from the start of such an instance to the notice of its interruption.
    #[serde(rename = "spot_interruption_after_ms", with = "millis")]
    pub spot_interruption_after: Duration,
    /// The time from the notice to the interruption.
    #[serde(rename = "spot_notice_ms", with = "millis")]
    pub spot_notice: Duration,
    /// Every n-th boot yields a `running` instance without a process. 0 for none.
    ///
    /// Launches, starts and the configured instances count, in the order of the calls. Reboots do not count, and do not
    /// bring the process up.
    pub fail_boot_every: u64,
}

/// A limit on the instances of one type, one subnet, or all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Covers only this type; any if `None`.
    pub instance_type: Option<String>,
    /// Covers only this subnet; any if `None`.
    pub subnet: Option<String>,
    /// The most instances that are `pending` or `running` at once.
    pub instances: usize,
}

/// The notice of AWS before it interrupts a spot instance.
pub const DEFAULT_SPOT_NOTICE: Duration = Duration::from_secs(120);
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Ec2Faults {
    fn default() -> Self {
        Self {
            limits: RateLimits::default(),
            capacity: Vec::new(),
            describe_lag: Duration::ZERO,
            boot_delay: Duration::ZERO,
            boot_delay_spread: Duration::ZERO,
            stop_delay: Duration::ZERO,
            stop_delay_spread: Duration::ZERO,
            status_check: Duration::ZERO,
            spot_interruption: 0.0,
            spot_interruption_after: Duration::ZERO,
            spot_notice: DEFAULT_SPOT_NOTICE,
            fail_boot_every: 0,
        }
    }
}

impl Ec2Faults {
    /// Checks that every value is within its bounds, and that no two capacities cover the same instances.
    ///
    /// # Errors
    /// Names the first value out of bounds.
    pub(super) fn check(&self) -> Result<(), FaultsError> {
        self.limits.check()?;
        check_probability("ec2.spot_interruption", self.spot_interruption)?;
        for (name, duration) in [
            ("describe_lag_ms", self.describe_lag),
            ("boot_delay_ms", self.boot_delay),
            ("boot_delay_spread_ms", self.boot_delay_spread),
            ("stop_delay_ms", self.stop_delay),
            ("stop_delay_spread_ms", self.stop_delay_spread),
            ("status_check_ms", self.status_check),
            ("spot_interruption_after_ms", self.spot_interruption_after),
            ("spot_notice_ms", self.spot_notice),
        ] {
            if duration > MAX_DURATION {
                return Err(FaultsError::Duration(name));
            }
        }
        let mut covered = HashSet::new();
        for capacity in &self.capacity {
            if !covered.insert((&capacity.instance_type, &capacity.subnet)) {
                return Err(FaultsError::DuplicateCapacity(format!("{capacity:?}")));
            }
        }
        Ok(())
    }
}
