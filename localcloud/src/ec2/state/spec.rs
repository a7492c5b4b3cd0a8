//! What an instance is launched as.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// What launching fixes for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaunchSpec {
    pub image_id: String,
    pub instance_type: String,
    /// Decoded.
    pub user_data: Vec<u8>,
    pub key_name: Option<String>,
    pub subnet_id: Option<String>,
    pub security_groups: Vec<String>,
    pub instance_profile: Option<String>,
    pub availability_zone: Option<String>,
    pub market: Market,
    pub tags: Tags,
    /// What becomes of a spot instance that EC2 takes back.
    pub interruption: InterruptionAction,
    /// Whether an instance whose process ends by itself is terminated rather than stopped.
    pub terminate_on_shutdown: bool,
    /// Whether TerminateInstances is refused.
    pub disable_api_termination: bool,
    /// Whether StopInstances is refused.
    pub disable_api_stop: bool,
    /// Whether detailed monitoring was asked for. There is none; it is echoed.
    pub monitoring: bool,
    pub metadata: MetadataOptions,
}

/// How an instance is paid for, which decides what may be done with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Market {
    #[default]
    OnDemand,
    /// Can only be terminated: there is no request any more that could start it again.
    OneTimeSpot,
    /// Stops and starts as one on demand.
    PersistentSpot,
}

impl Market {
    /// EC2's name for what is not on demand.
    pub fn lifecycle(self) -> Option<&'static str> {
        match self {
            Self::OnDemand => None,
            Self::OneTimeSpot | Self::PersistentSpot => Some("spot"),
        }
    }
}

/// How the metadata service of an instance may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataOptions {
    /// Whether a session token is required (IMDSv2), as new accounts have it.
    pub tokens_required: bool,
    pub endpoint_enabled: bool,
    pub tags_enabled: bool,
    /// Echoed: there are no hops to count here.
    pub hop_limit: u8,
    /// Echoed: the endpoint is an IPv4 one.
    pub ipv6_enabled: bool,
    /// Whether anybody chose any of these, so that descriptions have them.
    pub were_set: bool,
}

impl MetadataOptions {
    /// EC2's name for whether tokens are required.
    pub fn tokens_name(&self) -> &'static str {
        if self.tokens_required {
            "required"
        } else {
            "optional"
        }
    }
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            tokens_required: true,
            endpoint_enabled: true,
            tags_enabled: false,
            hop_limit: 2,
            ipv6_enabled: false,
            were_set: false,
        }
    }
}

/// What becomes of a spot instance that is interrupted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterruptionAction {
    #[default]
    Terminate,
    Stop,
    /// As a stop: the memory of a process is not kept.
    Hibernate,
}

impl InterruptionAction {
    /// EC2's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Stop => "stop",
            Self::Hibernate => "hibernate",
        }
    }
}
