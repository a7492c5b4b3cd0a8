//! The properties that a launch gives an instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// The properties of a launch, some of which can be modified later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaunchSpec {
    pub image_id: String,
    pub instance_type: String,
    /// Decoded.
    pub user_data: Vec<u8>,
    pub key_name: Option<String>,
    pub subnet_id: Option<String>,
    pub security_groups: Vec<String>,
    /// The disks that the launch set; the image's own are not described.
    pub disks: Vec<Disk>,
    pub instance_profile: Option<String>,
    pub availability_zone: Option<String>,
    pub market: Market,
    pub tags: Tags,
    /// What an interruption does to a spot instance.
    pub interruption: InterruptionAction,
    /// Whether an instance whose process ends by itself is terminated instead of stopped.
    pub terminate_on_shutdown: bool,
    /// Whether TerminateInstances is refused.
    pub disable_api_termination: bool,
    /// Whether StopInstances is refused.
    pub disable_api_stop: bool,
    /// Whether detailed monitoring was requested. It is only echoed.
    pub monitoring: bool,
    pub metadata: MetadataOptions,
}

/// A disk of an instance. It is only described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Such as `/dev/sda1`.
    pub device: String,
    pub delete_on_termination: bool,
}

/// How an instance is paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Market {
    #[default]
    OnDemand,
    /// Can be terminated, not stopped: no request could start it again.
    OneTimeSpot,
    /// Can be stopped and started like an instance on demand.
    PersistentSpot,
}

impl Market {
    /// Returns EC2's name for what is not on demand.
    pub fn lifecycle(self) -> Option<&'static str> {
        match self {
            Self::OnDemand => None,
            Self::OneTimeSpot | Self::PersistentSpot => Some("spot"),
        }
    }
}

/// The options of an instance's metadata service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataOptions {
    /// Whether a session token is required (IMDSv2), the default of new accounts.
    pub tokens_required: bool,
    pub endpoint_enabled: bool,
    pub tags_enabled: bool,
    /// Only echoed: there are no hops to count.
    pub hop_limit: u8,
    /// Only echoed: the endpoint has an IPv4 address.
    pub ipv6_enabled: bool,
    /// Whether a call set any of these; only then do descriptions include them.
    pub were_set: bool,
}

impl MetadataOptions {
    /// Returns EC2's name for whether tokens are required.
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

/// What an interruption does to a spot instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterruptionAction {
    #[default]
    Terminate,
    Stop,
    /// Same as a stop: the memory of a process is not kept.
    Hibernate,
}

impl InterruptionAction {
    /// Returns EC2's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Stop => "stop",
            Self::Hibernate => "hibernate",
        }
    }
}
