"""What a launch can have, and what a client asks before it."""

from conftest import IMAGE


def test_the_default_subnets_have_addresses(ec2):
    default = [{"Name": "default-for-az", "Values": ["true"]}]
    subnets = ec2.describe_subnets(Filters=default)["Subnets"]
    assert subnets
    for subnet in subnets:
        assert subnet["DefaultForAz"] and subnet["AvailableIpAddressCount"] > 0
        assert subnet["State"] == "available"
    by_id = ec2.describe_subnets(SubnetIds=[subnets[0]["SubnetId"]])["Subnets"]
    assert [subnet["AvailabilityZone"] for subnet in by_id] == [subnets[0]["AvailabilityZone"]]


def test_there_is_a_default_security_group(ec2):
    groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"]
    assert groups
    by_id = ec2.describe_security_groups(GroupIds=[groups[0]["GroupId"]])["SecurityGroups"]
    assert by_id[0]["GroupName"] == "default"


def test_types_are_offered_in_zones(ec2):
    filters = [{"Name": "instance-type", "Values": ["c5.large"]}]
    offered = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=filters)
    offered = offered["InstanceTypeOfferings"]
    assert offered
    assert {offer["InstanceType"] for offer in offered} == {"c5.large"}
    assert all(offer["Location"].startswith("us-east-1") for offer in offered)


def test_a_disk_is_attached_as_it_was_asked_for(ec2):
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 12, "VolumeType": "gp3", "DeleteOnTermination": True}}
    launched = ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, BlockDeviceMappings=[disk])
    instance = launched["Instances"][0]["InstanceId"]
    described = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    attached, = described["BlockDeviceMappings"]
    assert attached["DeviceName"] == "/dev/sda1"
    assert attached["Ebs"]["VolumeId"].startswith("vol-") and attached["Ebs"]["DeleteOnTermination"]
    ec2.terminate_instances(InstanceIds=[instance])


def test_a_network_interface_has_the_subnet(ec2):
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    interface = {"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": False}
    launched = ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, NetworkInterfaces=[interface])
    assert launched["Instances"][0]["SubnetId"] == subnet
    ec2.terminate_instances(InstanceIds=[launched["Instances"][0]["InstanceId"]])
