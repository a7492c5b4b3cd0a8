"""Errors of EC2."""

import pytest
from conftest import IMAGE, refused

ABSENT = "i-0123456789abcdef0"


def test_an_absent_instance(ec2):
    for call in [ec2.describe_instances, ec2.start_instances, ec2.stop_instances, ec2.terminate_instances,
                 ec2.reboot_instances]:
        with refused("InvalidInstanceID.NotFound", 400):
            call(InstanceIds=[ABSENT])
    with refused("InvalidInstanceID.NotFound", 400):
        ec2.get_console_output(InstanceId=ABSENT)


def test_a_malformed_instance_id(ec2):
    with refused("InvalidInstanceID.Malformed", 400):
        ec2.describe_instances(InstanceIds=["web-1"])
    with refused("InvalidInstanceID.Malformed", 400):
        ec2.terminate_instances(InstanceIds=["i-xyz"])


def test_an_absent_image(ec2):
    with refused("InvalidAMIID.NotFound", 400):
        ec2.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1)
    with refused("InvalidAMIID.Malformed", 400):
        ec2.run_instances(ImageId="nonsense", MinCount=1, MaxCount=1)


@pytest.mark.parametrize("least, most", [(0, 1), (2, 1)])
def test_invalid_counts(ec2, least, most):
    with refused(["InvalidParameterValue", "InvalidParameterCombination"], 400):
        ec2.run_instances(ImageId=IMAGE, MinCount=least, MaxCount=most)


def test_a_dry_run(ec2):
    with refused("DryRunOperation", 412):
        ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, DryRun=True)
    with refused("DryRunOperation", 412):
        ec2.describe_instances(DryRun=True)


def test_user_data_has_at_most_16_kib(ec2):
    with refused("InvalidParameterValue", 400):
        ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, UserData="x" * 16385)


def test_pages_have_at_least_5_results_and_no_ids(ec2, launch):
    with refused("InvalidParameterValue", 400):
        ec2.describe_instances(MaxResults=4)
    with refused("InvalidParameterCombination", 400):
        ec2.describe_instances(InstanceIds=launch(), MaxResults=5)
