//! Disks, network interfaces and metadata options of a launch, and what a client asks before it.

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, InstanceNetworkInterfaceSpecification, LocationType,
    ResourceType, VolumeType,
};

use crate::cloud::{Cloud, code};
use crate::instances::{SLEEPER, describe, filter, launched, run, tag_specification};

fn interface(device: i32) -> InstanceNetworkInterfaceSpecification {
    InstanceNetworkInterfaceSpecification::builder()
        .device_index(device)
        .associate_public_ip_address(false)
        .delete_on_termination(true)
        .subnet_id("subnet-1")
        .groups("sg-1")
        .groups("sg-2")
        .build()
}

fn disk(kind: &str) -> BlockDeviceMapping {
    let ebs = EbsBlockDevice::builder()
        .volume_size(12)
        .volume_type(VolumeType::from(kind))
        .encrypted(true)
        .delete_on_termination(true);
    BlockDeviceMapping::builder()
        .device_name("/dev/sda1")
        .ebs(ebs.build())
        .build()
}

#[tokio::test]
async fn a_launch_has_a_disk_and_a_network_interface() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let images = ec2.describe_images().image_ids("ami-test").send().await;
    let images = images.unwrap();
    assert_eq!(images.images()[0].root_device_name(), Some("/dev/sda1"));
    let launch = run(&ec2, 1)
        .block_device_mappings(disk("gp3"))
        .network_interfaces(interface(0))
        .tag_specifications(tag_specification(ResourceType::Volume, "owner", "me"))
        .tag_specifications(tag_specification(
            ResourceType::NetworkInterface,
            "owner",
            "me",
        ));
    let id = launched(launch).await.remove(0);
    let instance = describe(&ec2, &id).await;
    assert_eq!(instance.subnet_id(), Some("subnet-1"));
    let groups = instance.security_groups().iter();
    let groups: Vec<_> = groups.filter_map(|group| group.group_id()).collect();
    assert_eq!(groups, ["sg-1", "sg-2"]);
    let attached = &instance.block_device_mappings()[0];
    assert_eq!(attached.device_name(), instance.root_device_name());
    let volume = attached.ebs().unwrap();
    assert!(volume.volume_id().unwrap().starts_with("vol-"));
    assert_eq!(volume.delete_on_termination(), Some(true));

    let free = ec2.describe_subnets().subnet_ids("subnet-1").send().await;
    let free = free.unwrap().subnets()[0].available_ip_address_count();
    assert_eq!(free, Some(4090));

    for (refused, expected) in [
        (
            run(&ec2, 1).block_device_mappings(disk("floppy")),
            "InvalidParameterValue",
        ),
        (
            run(&ec2, 1)
                .network_interfaces(interface(0))
                .subnet_id("subnet-1"),
            "InvalidParameterCombination",
        ),
        (
            run(&ec2, 1).network_interfaces(interface(1)),
            "InvalidParameterValue",
        ),
    ] {
        assert_eq!(code(refused.send().await.unwrap_err()), expected);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn subnets_groups_and_offerings_are_described() {
    let cloud = Cloud::start().await;
    let ec2 = cloud.ec2();
    let default = ec2.describe_subnets();
    let default = default.filters(filter("default-for-az", &["true"])).send();
    let default = default.await.unwrap();
    let subnet = &default.subnets()[0];
    assert_eq!(subnet.availability_zone(), Some("us-east-1a"));
    let named = ec2.describe_subnets().subnet_ids("subnet-7");
    let named = named.filters(filter("default-for-az", &["true"])).send();
    assert_eq!(named.await.unwrap().subnets(), []);
    let groups = ec2.describe_security_groups().send().await.unwrap();
    assert_eq!(groups.security_groups()[0].group_name(), Some("default"));
    let groups = ec2.describe_security_groups().group_ids("sg-7").send();
    let groups = groups.await.unwrap();
    assert_eq!(groups.security_groups()[0].group_id(), Some("sg-7"));
    let other = ec2.describe_subnets().subnet_ids("sg-7").send().await;
    assert_eq!(code(other.unwrap_err()), "InvalidID");

    let offered = ec2.describe_instance_type_offerings();
    let offered = offered.location_type(LocationType::AvailabilityZone);
    let offered = offered.filters(filter("location", &["us-east-1b"]));
    let offered = offered.filters(filter("instance-type", &["c7i.large", "x9.huge"]));
    let offered = offered.send().await.unwrap();
    let offered: Vec<_> = offered.instance_type_offerings().iter().collect();
    assert_eq!(offered.len(), 1);
    assert_eq!(offered[0].location(), Some("us-east-1b"));
    assert_eq!(offered[0].instance_type().unwrap().as_str(), "c7i.large");
    cloud.stop().await;
}
