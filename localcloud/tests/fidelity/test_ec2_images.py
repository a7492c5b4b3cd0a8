"""Images."""

import pytest
from conftest import IMAGE, eventually, in_state, refused


@pytest.fixture
def registered(ec2, target, name):
    # localcloud reads the image's command here; AWS the location of a manifest.
    location = '["sh", "-c", "exec sleep 1000"]' if target.name == "localcloud" else "bucket/image.manifest.xml"
    image = ec2.register_image(Name=name, Description="sleeps", ImageLocation=location, Architecture="x86_64")
    return image["ImageId"]


def test_an_image_is_registered_described_and_deregistered(ec2, registered, name):
    assert registered.startswith("ami-")
    image, = ec2.describe_images(ImageIds=[registered])["Images"]
    assert (image["Name"], image["Description"], image["State"]) == (name, "sleeps", "available")
    by_name = ec2.describe_images(Filters=[{"Name": "name", "Values": [name[:-2] + "*"]}])["Images"]
    assert [found["ImageId"] for found in by_name] == [registered]
    assert registered in [found["ImageId"] for found in ec2.describe_images(Owners=["self"])["Images"]]
    ec2.deregister_image(ImageId=registered)
    gone = ec2.describe_images(Filters=[{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}])
    assert gone["Images"] == []


def test_instances_are_launched_from_it(ec2, registered):
    launched = ec2.run_instances(ImageId=registered, MinCount=1, MaxCount=1)
    instance = launched["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    ec2.terminate_instances(InstanceIds=[instance])


def test_a_stopping_instance_cannot_be_started(ec2, target, name):
    # In localcloud it ignores the signal, so it stops as slowly as a machine.
    location = """["sh", "-c", "trap '' TERM; echo deaf; exec sleep 1000"]"""
    location = location if target.name == "localcloud" else "bucket/image.manifest.xml"
    image = ec2.register_image(Name=name, ImageLocation=location, Architecture="x86_64")["ImageId"]
    ids = [ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]]
    in_state(ec2, ids, "running")
    if target.name == "localcloud":
        eventually(lambda: "deaf" in ec2.get_console_output(InstanceId=ids[0]).get("Output", ""))
    ec2.stop_instances(InstanceIds=ids)
    try:
        with refused("IncorrectInstanceState", 400):
            ec2.start_instances(InstanceIds=ids)
    finally:
        ec2.terminate_instances(InstanceIds=ids)


def test_two_images_cannot_have_one_name(ec2, registered, name):
    with refused("InvalidAMIName.Duplicate", 400):
        ec2.register_image(Name=name, ImageLocation='["true"]')


def test_an_absent_image(ec2):
    with refused("InvalidAMIID.NotFound", 400):
        ec2.describe_images(ImageIds=["ami-0123456789abcdef0"])
    with refused("InvalidAMIID.NotFound", 400):
        ec2.deregister_image(ImageId="ami-0123456789abcdef0")
    assert ec2.describe_images(ImageIds=[IMAGE])["Images"][0]["ImageId"] == IMAGE
