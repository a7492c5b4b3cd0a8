//! Instances as XML.

use crate::account::ACCOUNT_ID;
use crate::ec2::state::{Instance, InstanceState, MetadataOptions, Region, Tags};
use crate::timestamp::timestamp;
use crate::xml::Xml;

/// The root device of every image.
pub(in crate::ec2) const ROOT_DEVICE: &str = "/dev/sda1";

/// Writes a reservation: the instances of one launch, or the selected ones of them.
pub(in crate::ec2) fn reservation(xml: &mut Xml, instances: &[&Instance], region: &Region) {
    xml.optional(
        "reservationId",
        instances.first().map(|first| &first.reservation_id),
    );
    xml.text("ownerId", ACCOUNT_ID);
    xml.element("groupSet", |_| {});
    xml.list("instancesSet", instances, |xml, instance| {
        describe(xml, instance, region)
    });
}

fn describe(xml: &mut Xml, instance: &Instance, region: &Region) {
    let spec = &instance.spec;
    let has_public_address = instance.uses_capacity();
    xml.text("instanceId", &instance.instance_id);
    xml.text("imageId", &spec.image_id);
    xml.element("instanceState", |xml| state(xml, instance.state));
    let private_name = instance
        .has_private_address()
        .then(|| region.private_dns_name(instance));
    xml.text("privateDnsName", private_name.unwrap_or_default());
    xml.text("dnsName", if has_public_address { "localhost" } else { "" });
    xml.text("reason", instance.reason());
    xml.optional("keyName", spec.key_name.as_ref());
    xml.text("amiLaunchIndex", instance.launch_index);
    xml.text("instanceType", &spec.instance_type);
    xml.text("launchTime", timestamp(instance.launched));
    xml.element("placement", |xml| {
        xml.text("availabilityZone", region.zone_of(spec));
        xml.text("tenancy", "default");
    });
    if spec.monitoring {
        xml.element("monitoring", |xml| xml.text("state", "enabled"));
    }
    xml.optional("subnetId", spec.subnet_id.as_ref());
    if instance.has_private_address() {
        xml.text("privateIpAddress", instance.private_address());
    }
    if has_public_address {
        xml.text("ipAddress", "127.0.0.1");
    }
    xml.list("groupSet", &spec.security_groups, |xml, group| {
        xml.text("groupId", group);
        xml.text("groupName", group);
    });
    if let Some(reason) = &instance.state_reason {
        xml.element("stateReason", |xml| {
            xml.text("code", reason.code);
            xml.text("message", &reason.message);
        });
    }
    xml.text("architecture", "x86_64");
    xml.text("rootDeviceType", "ebs");
    if !spec.disks.is_empty() {
        xml.text("rootDeviceName", ROOT_DEVICE);
        xml.list(
            "blockDeviceMapping",
            spec.disks.iter().enumerate(),
            |xml, (index, disk)| {
                xml.text("deviceName", &disk.device);
                xml.element("ebs", |xml| {
                    xml.text("volumeId", volume_id(instance, index));
                    xml.text("status", "attached");
                    xml.text("deleteOnTermination", disk.delete_on_termination);
                });
            },
        );
    }
    xml.text("virtualizationType", "hvm");
    xml.text("hypervisor", "xen");
    xml.optional("instanceLifecycle", spec.market.lifecycle());
    xml.optional("spotInstanceRequestId", instance.spot_request_id());
    xml.text("clientToken", &instance.client_token);
    tags(xml, &instance.tags);
    if let Some(arn) = spec.instance_profile_arn() {
        xml.element("iamInstanceProfile", |xml| xml.text("arn", arn));
    }
    // Only for clients that set them: seven more elements would cost every client a fifth of its time.
    if spec.metadata.were_set {
        xml.element("metadataOptions", |xml| {
            metadata_options(xml, &spec.metadata);
        });
    }
}

/// Returns the identifier of a disk. Volumes are no resources here: it derives from the instance's.
fn volume_id(instance: &Instance, index: usize) -> String {
    let digits = instance.instance_id.trim_start_matches("i-");
    let keep = digits.len().saturating_sub(2);
    format!("vol-{}{:02x}", &digits[..keep], index % 256)
}

/// Writes the options of the metadata service, which take effect at once.
pub(in crate::ec2) fn metadata_options(xml: &mut Xml, options: &MetadataOptions) {
    xml.text("state", "applied");
    xml.text("httpTokens", options.tokens_name());
    xml.text("httpPutResponseHopLimit", options.hop_limit);
    xml.text("httpEndpoint", switch(options.endpoint_enabled));
    xml.text("httpProtocolIpv6", switch(options.ipv6_enabled));
    xml.text("instanceMetadataTags", switch(options.tags_enabled));
}

fn switch(on: bool) -> &'static str {
    if on { "enabled" } else { "disabled" }
}

pub(in crate::ec2) fn tags(xml: &mut Xml, tags: &Tags) {
    xml.list("tagSet", tags, |xml, (key, value)| {
        xml.text("key", key);
        xml.text("value", value);
    });
}

pub(in crate::ec2) fn state(xml: &mut Xml, state: InstanceState) {
    xml.text("code", state.code());
    xml.text("name", state.name());
}
