//! Rate limits of EC2's actions.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::FaultsError;
use crate::ec2_actions;
use crate::token_bucket::RateLimit;

/// Token buckets by action. An action without one has no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "RateLimitsSection")]
pub struct RateLimits {
    /// A call takes one token.
    pub requests: BTreeMap<String, RateLimit>,
    /// A call with neither filter nor page size takes its token here instead.
    pub unfiltered: BTreeMap<String, RateLimit>,
    /// A call takes a token for each instance that it names, RunInstances for its MaxCount.
    pub resources: BTreeMap<String, RateLimit>,
}

/// Rate limits with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RateLimitsPreset {
    /// No limits.
    None,
    /// AWS's published defaults.
    Aws,
}

/// Rate limits in a file: a preset, and limits that replace its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RateLimitsSection {
    preset: Option<RateLimitsPreset>,
    requests: BTreeMap<String, RateLimit>,
    unfiltered: BTreeMap<String, RateLimit>,
    resources: BTreeMap<String, RateLimit>,
}

impl RateLimits {
    /// Returns AWS's default limits of one account in one region, for each action that localcloud has.
    ///
    /// An action has its own limit where AWS gives it one, else that of its category. The limits of the console are left
    /// out.
    ///
    /// Source: "Request throttling for the Amazon EC2 API", tables of request and resource token buckets, as of 2025,
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>.
    pub fn aws() -> Self {
        let named = |action: &str, size, refill_per_second| {
            let limit = RateLimit {
                size,
                refill_per_second,
            };
            (action.to_owned(), limit)
        };
        let requests = ec2_actions::ALL.map(|action| {
            let (size, refill) = match action {
                "RunInstances" | "StartInstances" => (5, 2.0),
                "CreateTags" | "DeleteTags" => (100, 10.0),
                "DeregisterImage" | "ModifyInstanceMetadataOptions" | "TerminateInstances" => {
                    (100, 5.0)
                }
                read if read.starts_with("Describe") || read.starts_with("Get") => (100, 20.0),
                _ => (50, 5.0),
            };
            named(action, size, refill)
        });
        let resources = ec2_actions::PER_INSTANCE.map(|action| match action {
            "RunInstances" | "StartInstances" => named(action, 1000, 2.0),
            _ => named(action, 1000, 20.0),
        });
        Self {
            requests: requests.into(),
            unfiltered: ec2_actions::UNFILTERED
                .map(|action| named(action, 50, 10.0))
                .into(),
            resources: resources.into(),
        }
    }

    /// Adds other limits, which replace those of the same actions.
    pub fn extend(&mut self, other: Self) {
        self.requests.extend(other.requests);
        self.unfiltered.extend(other.unfiltered);
        self.resources.extend(other.resources);
    }

    pub(super) fn check(&self) -> Result<(), FaultsError> {
        for (limits, actions) in [
            (&self.requests, ec2_actions::ALL.as_slice()),
            (&self.unfiltered, ec2_actions::UNFILTERED.as_slice()),
            (&self.resources, ec2_actions::PER_INSTANCE.as_slice()),
        ] {
            for (action, limit) in limits {
                if !actions.contains(&action.as_str()) {
                    return Err(FaultsError::LimitedAction(action.clone()));
                }
                if !limit.is_valid() {
                    return Err(FaultsError::RateLimit(action.clone()));
                }
            }
        }
        Ok(())
    }
}

impl From<RateLimitsPreset> for RateLimits {
    fn from(preset: RateLimitsPreset) -> Self {
        match preset {
            RateLimitsPreset::None => Self::default(),
            RateLimitsPreset::Aws => Self::aws(),
        }
    }
}

impl From<RateLimitsSection> for RateLimits {
    fn from(section: RateLimitsSection) -> Self {
        let mut limits = section.preset.map(Self::from).unwrap_or_default();
        limits.extend(Self {
            requests: section.requests,
            unfiltered: section.unfiltered,
            resources: section.resources,
        });
        limits
    }
}
