//! The filters of instances.

use super::filter::Filter;
use super::instance::{Instance, InstanceState};
use super::region::Region;
use super::spec::LaunchSpec;
use crate::account::ACCOUNT_ID;
use crate::timestamp::{timestamp, timestamp_in_gmt};

/// The filters of DescribeInstances. Those for properties that instances do not have here (network interfaces, volumes,
/// hosts) match no instance.
pub const INSTANCE_FILTERS: &str = "\
    affinity architecture availability-zone availability-zone-id block-device-mapping.* \
    boot-mode capacity-reservation-id capacity-reservation-specification.* client-token \
    current-instance-boot-mode dns-name ebs-optimized ena-support enclave-options.enabled \
    group-id group-name hibernation-options.configured host-id hypervisor iam-instance-profile.* \
    image-id instance-id instance-lifecycle instance-state-code instance-state-name \
    instance-type instance.group-id instance.group-name ip-address ipv6-address kernel-id \
    key-name launch-index launch-time maintenance-options.auto-recovery metadata-options.* \
    monitoring-state network-interface.* network-performance-options.* operator.* outpost-arn \
    owner-id placement-group-name placement-partition-number platform platform-details \
    private-dns-name private-dns-name-options.* private-ip-address product-code \
    product-code.type ramdisk-id reason requester-id reservation-id root-device-name \
    root-device-type source-dest-check spot-instance-request-id state-reason-code \
    state-reason-message subnet-id tag-key tag-value tag:* tenancy tpm-support usage-operation \
    usage-operation-update-time virtualization-type vpc-id";

/// The filters of DescribeInstanceStatus.
pub const STATUS_FILTERS: &str = "\
    application-status.status attached-ebs-status.status availability-zone availability-zone-id \
    event.* instance-state-code instance-state-name instance-status.reachability \
    instance-status.status operator.* system-status.reachability system-status.status";

impl Instance {
    /// Returns whether the instance has an address in its network. A terminated one has none.
    pub fn has_private_address(&self) -> bool {
        self.state != InstanceState::Terminated
    }

    /// Returns the identifier of a spot instance's request. Requests are no resources here: it derives from the instance's.
    pub fn spot_request_id(&self) -> Option<String> {
        self.spec.market.lifecycle()?;
        let number = self.instance_id.trim_start_matches("i-");
        Some(format!("sir-{}", number.get(..8).unwrap_or(number)))
    }

    /// Returns the state transition reason, an older form of the state reason.
    pub fn reason(&self) -> String {
        match &self.state_transition {
            Some((reason, at)) => format!("{reason} ({})", timestamp_in_gmt(*at)),
            None => String::new(),
        }
    }
}

impl LaunchSpec {
    /// Returns the ARN of the instance profile.
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
    /// Returns whether an instance matches.
    pub fn matches_instance(&self, instance: &Instance, region: &Region) -> bool {
        if let Some(matched) = self.matches_tags(&instance.tags) {
            return matched;
        }
        let spec = &instance.spec;
        let flag = |value: bool| self.matches(if value { "true" } else { "false" });
        let switch = |value: bool| self.matches(if value { "enabled" } else { "disabled" });
        let optional = |value: Option<&str>| value.is_some_and(|value| self.matches(value));
        match self.name.as_str() {
            "architecture" => self.matches("x86_64"),
            "availability-zone" => self.matches(region.zone_of(spec)),
            "availability-zone-id" => self.matches(&region.zone_id(region.zone_of(spec))),
            "client-token" => self.matches(&instance.client_token),
            "dns-name" => self.matches(if instance.uses_capacity() {
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
            "ip-address" => instance.uses_capacity() && self.matches("127.0.0.1"),
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
                instance.has_private_address() && self.matches(&region.private_dns_name(instance))
            }
            "private-ip-address" | "network-interface.addresses.private-ip-address" => {
                instance.has_private_address()
                    && self.matches(&instance.private_address().to_string())
            }
            "reason" => self.matches(&instance.reason()),
            "reservation-id" => self.matches(&instance.reservation_id),
            "root-device-type" => self.matches("ebs"),
            "spot-instance-request-id" => optional(instance.spot_request_id().as_deref()),
            "state-reason-code" => {
                optional(instance.state_reason.as_ref().map(|reason| reason.code))
            }
            "state-reason-message" => optional(
                instance
                    .state_reason
                    .as_ref()
                    .map(|reason| reason.message.as_str()),
            ),
            "subnet-id" | "network-interface.subnet-id" => optional(spec.subnet_id.as_deref()),
            "tenancy" => self.matches("default"),
            "virtualization-type" => self.matches("hvm"),
            _ => false,
        }
    }
}
