//! What filters may ask of an instance.

use super::filter::Filter;
use super::instance::{Instance, InstanceState};
use super::spec::LaunchSpec;
use crate::account::ACCOUNT_ID;
use crate::ec2::time::timestamp;

/// The region, and the zone of whoever names none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    pub region: String,
    default_zone: String,
}

/// The filters of DescribeInstances. Those for what instances do not have here (network interfaces, volumes, hosts) are
/// known and let nothing pass.
pub const INSTANCE_FILTERS: &[&str] = &[
    "affinity",
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.*",
    "boot-mode",
    "capacity-reservation-id",
    "capacity-reservation-specification.*",
    "client-token",
    "current-instance-boot-mode",
    "dns-name",
    "ebs-optimized",
    "ena-support",
    "enclave-options.enabled",
    "group-id",
    "group-name",
    "hibernation-options.configured",
    "host-id",
    "hypervisor",
    "iam-instance-profile.*",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "ipv6-address",
    "kernel-id",
    "key-name",
    "launch-index",
    "launch-time",
    "maintenance-options.auto-recovery",
    "metadata-options.*",
    "monitoring-state",
    "network-interface.*",
    "network-performance-options.*",
    "operator.*",
    "outpost-arn",
    "owner-id",
    "placement-group-name",
    "placement-partition-number",
    "platform",
    "platform-details",
    "private-dns-name",
    "private-dns-name-options.*",
    "private-ip-address",
    "product-code",
    "product-code.type",
    "ramdisk-id",
    "reason",
    "requester-id",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "source-dest-check",
    "spot-instance-request-id",
    "state-reason-code",
    "state-reason-message",
    "subnet-id",
    "tag-key",
    "tag-value",
    "tag:*",
    "tenancy",
    "tpm-support",
    "usage-operation",
    "usage-operation-update-time",
    "virtualization-type",
    "vpc-id",
];

/// The filters of DescribeInstanceStatus.
pub const STATUS_FILTERS: &[&str] = &[
    "application-status.status",
    "attached-ebs-status.status",
    "availability-zone",
    "availability-zone-id",
    "event.*",
    "instance-state-code",
    "instance-state-name",
    "instance-status.reachability",
    "instance-status.status",
    "operator.*",
    "system-status.reachability",
    "system-status.status",
];

impl Place {
    pub fn of_region(region: &str) -> Self {
        Self {
            region: region.to_owned(),
            default_zone: format!("{region}a"),
        }
    }

    /// The zone of an instance.
    pub fn zone_of<'a>(&'a self, spec: &'a LaunchSpec) -> &'a str {
        spec.availability_zone
            .as_deref()
            .unwrap_or(&self.default_zone)
    }

    /// The identifier of a zone of this region, such as `use1-az1`; the zone itself if it is none of this region.
    pub fn zone_id(&self, zone: &str) -> String {
        let letter = zone.strip_prefix(&self.region).map(str::as_bytes);
        let Some([letter @ b'a'..=b'z']) = letter else {
            return zone.to_owned();
        };
        let mut short = String::new();
        for (position, part) in self.region.split('-').enumerate() {
            match (position, part) {
                (0, part) => short.push_str(part),
                (_, "northeast") => short.push_str("ne"),
                (_, "northwest") => short.push_str("nw"),
                (_, "southeast") => short.push_str("se"),
                (_, "southwest") => short.push_str("sw"),
                (_, part) => short.extend(part.chars().next()),
            }
        }
        format!("{short}-az{}", letter - b'a' + 1)
    }

    /// The name of an instance's private address.
    pub fn private_dns_name(&self, instance: &Instance) -> String {
        let address = instance.private_address().to_string().replace('.', "-");
        match self.region.as_str() {
            "us-east-1" => format!("ip-{address}.ec2.internal"),
            region => format!("ip-{address}.{region}.compute.internal"),
        }
    }
}

impl Instance {
    /// Whether the instance has an address in its network: as long as it exists.
    pub fn has_private_address(&self) -> bool {
        self.state != InstanceState::Terminated
    }

    /// The number that a spot instance lends to its request: spot requests are no resources here, and each instance
    /// has one of its own.
    pub fn spot_request_id(&self) -> Option<String> {
        self.spec.market.lifecycle()?;
        let number = self.instance_id.trim_start_matches("i-");
        Some(format!("sir-{}", number.get(..8).unwrap_or(number)))
    }

    /// The old single-text form of why the instance is in its state.
    pub fn reason(&self) -> String {
        match &self.state_transition {
            Some((reason, at)) => format!("{reason} ({})", timestamp(*at)),
            None => String::new(),
        }
    }
}

impl LaunchSpec {
    /// The ARN of the instance profile.
    pub fn instance_profile_arn(&self) -> Option<String> {
        let profile = self.instance_profile.as_ref()?;
        Some(if profile.starts_with("arn:") {
            profile.clone()
        } else {
            format!("arn:aws:iam::{ACCOUNT_ID}:instance-profile/{profile}")
        })
    }
}

impl Filter {
    /// Whether an instance passes.
    pub fn accepts(&self, instance: &Instance, place: &Place) -> bool {
        if let Some(accepted) = self.accepts_tags(&instance.tags) {
            return accepted;
        }
        let spec = &instance.spec;
        let flag = |value: bool| self.matches(if value { "true" } else { "false" });
        let switch = |value: bool| self.matches(if value { "enabled" } else { "disabled" });
        let optional = |value: Option<&str>| value.is_some_and(|value| self.matches(value));
        match self.name.as_str() {
            "architecture" => self.matches("x86_64"),
            "availability-zone" => self.matches(place.zone_of(spec)),
            "availability-zone-id" => self.matches(&place.zone_id(place.zone_of(spec))),
            "client-token" => self.matches(&instance.client_token),
            "dns-name" => self.matches(if instance.takes_room() {
                "localhost"
            } else {
                ""
            }),
            "ebs-optimized" | "hibernation-options.configured" => flag(false),
            "ena-support" | "source-dest-check" => flag(true),
            "hypervisor" => self.matches("xen"),
            "iam-instance-profile.arn" => optional(spec.instance_profile_arn().as_deref()),
            "image-id" => self.matches(&spec.image_id),
            "instance-id" => self.matches(&instance.instance_id),
            "instance-lifecycle" => optional(spec.market.lifecycle()),
            "instance-state-code" => self.matches(&instance.state.code().to_string()),
            "instance-state-name" => self.matches(instance.state.name()),
            "instance-type" => self.matches(&spec.instance_type),
            "instance.group-id"
            | "instance.group-name"
            | "group-id"
            | "group-name"
            | "network-interface.group-id" => {
                spec.security_groups.iter().any(|group| self.matches(group))
            }
            "ip-address" => instance.takes_room() && self.matches("127.0.0.1"),
            "key-name" => optional(spec.key_name.as_deref()),
            "launch-index" => self.matches(&instance.launch_index.to_string()),
            "launch-time" => self.matches(&timestamp(instance.launched)),
            "metadata-options.http-endpoint" => switch(spec.metadata.endpoint_enabled),
            "metadata-options.http-tokens" => self.matches(spec.metadata.tokens_name()),
            "metadata-options.instance-metadata-tags" => switch(spec.metadata.tags_enabled),
            "metadata-options.http-protocol-ipv4" => switch(true),
            "metadata-options.http-protocol-ipv6" => switch(spec.metadata.ipv6_enabled),
            "metadata-options.http-put-response-hop-limit" => {
                self.matches(&spec.metadata.hop_limit.to_string())
            }
            "metadata-options.state" => self.matches("applied"),
            "monitoring-state" => switch(spec.monitoring),
            "owner-id" => self.matches(ACCOUNT_ID),
            "platform-details" => self.matches("Linux/UNIX"),
            "private-dns-name" | "network-interface.private-dns-name" => {
                instance.has_private_address() && self.matches(&place.private_dns_name(instance))
            }
            "private-ip-address" | "network-interface.addresses.private-ip-address" => {
                instance.has_private_address()
                    && self.matches(&instance.private_address().to_string())
            }
            "reason" => self.matches(&instance.reason()),
            "reservation-id" => self.matches(&instance.reservation_id),
            "root-device-type" => self.matches("ebs"),
            "spot-instance-request-id" => optional(instance.spot_request_id().as_deref()),
            "state-reason-code" => optional(instance.state_reason.as_ref().map(|why| why.code)),
            "state-reason-message" => optional(
                instance
                    .state_reason
                    .as_ref()
                    .map(|why| why.message.as_str()),
            ),
            "subnet-id" | "network-interface.subnet-id" => optional(spec.subnet_id.as_deref()),
            "tenancy" => self.matches("default"),
            "virtualization-type" => self.matches("hvm"),
            _ => false,
        }
    }
}
