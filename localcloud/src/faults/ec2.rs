//! How unkind EC2 is: limits, capacity, delays and failures, all off by default.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{FaultsError, check_probability, millis};
use crate::ec2::{ACTIONS, RESOURCE_ACTIONS, UNFILTERED_ACTIONS, USUAL_NOTICE};

/// What EC2 does to its callers that a test on a quiet day never sees. The default is a kind EC2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ec2Settings {
    /// How often each action may be called.
    pub limits: Limits,
    /// How many instances there is room for, by type and subnet. A launch or start must fit into all that cover it.
    pub capacity: Vec<Capacity>,
    /// For how long after its launch an instance is unknown to every call but the one that launched it.
    #[serde(rename = "describe_lag_ms", with = "millis")]
    pub describe_lag: Duration,
    /// How long an instance stays `pending` before its process starts; what `Config::start_interval` adds comes after.
    #[serde(rename = "boot_delay_ms", with = "millis")]
    pub boot_delay: Duration,
    /// Each boot takes longer by a random part of this.
    #[serde(rename = "boot_delay_spread_ms", with = "millis")]
    pub boot_delay_spread: Duration,
    /// How long an instance stays `stopping` or `shutting-down` when its process is gone.
    #[serde(rename = "stop_delay_ms", with = "millis")]
    pub stop_delay: Duration,
    /// Each end takes longer by a random part of this.
    #[serde(rename = "stop_delay_spread_ms", with = "millis")]
    pub stop_delay_spread: Duration,
    /// How long the status checks of an instance that runs say `initializing`.
    #[serde(rename = "status_check_ms", with = "millis")]
    pub status_check: Duration,
    /// Probability that a spot instance is interrupted, drawn at each of its starts.
    pub spot_interruption: f64,
    /// From the start of such an instance to the notice of its interruption.
    #[serde(rename = "spot_interruption_after_ms", with = "millis")]
    pub spot_interruption_after: Duration,
    /// From that notice to the interruption; AWS's two minutes, if nothing is said.
    #[serde(rename = "spot_notice_ms", with = "millis")]
    pub spot_notice: Duration,
    /// The process of every so many-th start of an instance, in the order of the calls, never starts: the instance
    /// becomes `running` all the same, as a machine whose worker does not come up. 0 for none. Launches, starts and
    /// the instances of the configuration count; reboots do not, and heal nothing.
    pub fail_boot_every: u64,
}

/// Token buckets by action; an action without one may be called as often as one likes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "LimitsSection")]
pub struct Limits {
    /// A call takes one token.
    pub requests: BTreeMap<String, Bucket>,
    /// Where a call takes its token instead if it asks for everything at once: with neither a filter nor a page size.
    pub unfiltered: BTreeMap<String, Bucket>,
    /// A call takes a token for each instance that it names; RunInstances for its MaxCount.
    pub resources: BTreeMap<String, Bucket>,
}

/// A token bucket, which is full at the start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Tokens that it holds at most, from 1 on.
    pub size: u32,
    /// Tokens that come back in a second, continuously; may be a fraction, or 0 for never.
    pub refill_per_second: f64,
}

/// Limits that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LimitsPreset {
    /// No limits.
    None,
    /// Those that AWS publishes.
    Aws,
}

/// Room for instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Only instances of this type take room; any, if none is given.
    pub instance_type: Option<String>,
    /// Only instances in this subnet take room; any, if none is given.
    pub subnet: Option<String>,
    /// How many may be `pending` or `running` at once.
    pub instances: usize,
}

/// Limits as they are written: a preset, and buckets in place of some of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsSection {
    preset: Option<LimitsPreset>,
    requests: BTreeMap<String, Bucket>,
    unfiltered: BTreeMap<String, Bucket>,
    resources: BTreeMap<String, Bucket>,
}

impl Default for Ec2Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            capacity: Vec::new(),
            describe_lag: Duration::ZERO,
            boot_delay: Duration::ZERO,
            boot_delay_spread: Duration::ZERO,
            stop_delay: Duration::ZERO,
            stop_delay_spread: Duration::ZERO,
            status_check: Duration::ZERO,
            spot_interruption: 0.0,
            spot_interruption_after: Duration::ZERO,
            spot_notice: USUAL_NOTICE,
            fail_boot_every: 0,
        }
    }
}

/// Nothing takes longer than this.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Limits {
    /// AWS's default limits of one account in one region, for each action that localcloud knows: those of the action
    /// itself where AWS gives it some, else those of its category. The console's own limits are left out.
    ///
    /// Source: "Request throttling for the Amazon EC2 API", tables of request and resource token buckets, as of 2025,
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>.
    pub fn aws() -> Self {
        let bucket = |size, refill_per_second| Bucket {
            size,
            refill_per_second,
        };
        let requests = ACTIONS.into_iter().map(|action| {
            let limit = match action {
                "RunInstances" | "StartInstances" => bucket(5, 2.0),
                "CreateTags" | "DeleteTags" => bucket(100, 10.0),
                "DeregisterImage" | "ModifyInstanceMetadataOptions" | "TerminateInstances" => {
                    bucket(100, 5.0)
                }
                reads if reads.starts_with("Describe") || reads.starts_with("Get") => {
                    bucket(100, 20.0)
                }
                _ => bucket(50, 5.0),
            };
            (action.to_owned(), limit)
        });
        let unfiltered = UNFILTERED_ACTIONS.map(|action| (action.to_owned(), bucket(50, 10.0)));
        let resources = RESOURCE_ACTIONS.into_iter().map(|action| {
            let limit = match action {
                "RunInstances" | "StartInstances" => bucket(1000, 2.0),
                _ => bucket(1000, 20.0),
            };
            (action.to_owned(), limit)
        });
        Self {
            requests: requests.collect(),
            unfiltered: unfiltered.into(),
            resources: resources.collect(),
        }
    }

    /// Takes over the buckets of other limits, in place of those for the same actions.
    pub fn add(&mut self, other: Self) {
        self.requests.extend(other.requests);
        self.unfiltered.extend(other.unfiltered);
        self.resources.extend(other.resources);
    }

    fn check(&self) -> Result<(), FaultsError> {
        for (buckets, actions) in [
            (&self.requests, ACTIONS.as_slice()),
            (&self.unfiltered, UNFILTERED_ACTIONS.as_slice()),
            (&self.resources, RESOURCE_ACTIONS.as_slice()),
        ] {
            for (action, bucket) in buckets {
                if !actions.contains(&action.as_str()) {
                    return Err(FaultsError::LimitedAction(action.clone()));
                }
                bucket.check(action.clone())?;
            }
        }
        Ok(())
    }
}

impl Bucket {
    /// Checks that it holds and refills something that can be counted; `name` tells which bucket it is.
    pub(super) fn check(self, name: String) -> Result<(), FaultsError> {
        // The upper bound only keeps the arithmetic of the buckets from overflowing.
        if self.size == 0 || !(0.0..=1e9).contains(&self.refill_per_second) {
            return Err(FaultsError::Bucket(name));
        }
        Ok(())
    }
}

impl From<LimitsPreset> for Limits {
    fn from(preset: LimitsPreset) -> Self {
        match preset {
            LimitsPreset::None => Self::default(),
            LimitsPreset::Aws => Self::aws(),
        }
    }
}

impl From<LimitsSection> for Limits {
    fn from(section: LimitsSection) -> Self {
        let mut limits = section.preset.map(Self::from).unwrap_or_default();
        limits.add(Self {
            requests: section.requests,
            unfiltered: section.unfiltered,
            resources: section.resources,
        });
        limits
    }
}

impl Ec2Settings {
    /// Checks that every limit is one that EC2 could have, and that no two capacities contradict each other.
    ///
    /// # Errors
    /// Names the first limit, probability or capacity at fault.
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
            if duration > A_DAY {
                return Err(FaultsError::Duration(name));
            }
        }
        let mut pools = HashSet::new();
        for capacity in &self.capacity {
            if !pools.insert((&capacity.instance_type, &capacity.subnet)) {
                return Err(FaultsError::DuplicateCapacity(format!("{capacity:?}")));
            }
        }
        Ok(())
    }
}
