"""Instances, from launch to termination."""

import base64

from conftest import IMAGE, eventually, in_state, instances_of, refused


def states(answer, key):
    return [(change["PreviousState"]["Name"], change["CurrentState"]["Name"]) for change in answer[key]]


def test_a_description_has_the_parameters_of_the_launch(ec2, launch, name):
    answer = ec2.run_instances(
        ImageId=IMAGE, MinCount=2, MaxCount=2, InstanceType="t3.micro", UserData="A=1",
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}])
    ids = [instance["InstanceId"] for instance in answer["Instances"]]
    assert [instance["State"]["Name"] for instance in answer["Instances"]] == ["pending", "pending"]
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
    found = instances_of(ec2.describe_instances(InstanceIds=ids))
    assert {one["InstanceId"] for one in found} == set(ids)
    for instance in found:
        assert (instance["ImageId"], instance["InstanceType"]) == (IMAGE, "t3.micro")
        assert instance["State"] == {"Code": 16, "Name": "running"}
        assert instance["Tags"] == [{"Key": "Name", "Value": name}]
        assert instance["Placement"]["AvailabilityZone"].startswith("us-east-1")
        assert instance["PrivateIpAddress"].count(".") == 3
    assert [one["AmiLaunchIndex"] for one in sorted(found, key=lambda one: one["AmiLaunchIndex"])] == [0, 1]
    ec2.terminate_instances(InstanceIds=ids)


def test_an_instance_stops_starts_and_terminates(ec2, launch):
    ids = launch()
    assert states(ec2.stop_instances(InstanceIds=ids), "StoppingInstances") == [("running", "stopping")]
    in_state(ec2, ids, "stopped")
    assert states(ec2.stop_instances(InstanceIds=ids), "StoppingInstances") == [("stopped", "stopped")]
    assert states(ec2.start_instances(InstanceIds=ids), "StartingInstances") == [("stopped", "pending")]
    in_state(ec2, ids, "running")
    assert states(ec2.start_instances(InstanceIds=ids), "StartingInstances") == [("running", "running")]
    ec2.reboot_instances(InstanceIds=ids)
    ended = states(ec2.terminate_instances(InstanceIds=ids), "TerminatingInstances")
    assert ended == [("running", "shutting-down")]
    in_state(ec2, ids, "terminated")
    ended = states(ec2.terminate_instances(InstanceIds=ids), "TerminatingInstances")
    assert ended == [("terminated", "terminated")]
    instance, = instances_of(ec2.describe_instances(InstanceIds=ids))
    assert instance["StateReason"]["Code"] == "Client.UserInitiatedShutdown"


def test_a_terminated_instance_stays_terminated(ec2, launch):
    ids = launch()
    ec2.terminate_instances(InstanceIds=ids)
    in_state(ec2, ids, "terminated")
    for call in [ec2.start_instances, ec2.stop_instances]:
        with refused("IncorrectInstanceState", 400):
            call(InstanceIds=ids)
    # The API reference: requests to reboot terminated instances are ignored.
    ec2.reboot_instances(InstanceIds=ids)


def test_waiters_see_instances_stop_and_terminate(ec2, launch):
    ids = launch()
    ec2.stop_instances(InstanceIds=ids)
    ec2.get_waiter("instance_stopped").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})


def test_a_stop_may_be_forced(ec2, launch):
    ids = launch()
    assert states(ec2.stop_instances(InstanceIds=ids, Force=True), "StoppingInstances") == [("running", "stopping")]
    in_state(ec2, ids, "stopped")


def test_several_instances_change_all_or_none(ec2, launch):
    running, = launch()
    with refused("InvalidInstanceID.NotFound", 400):
        ec2.stop_instances(InstanceIds=[running, "i-0123456789abcdef0"])
    instance, = instances_of(ec2.describe_instances(InstanceIds=[running]))
    assert instance["State"]["Name"] == "running"


def test_a_client_token_launches_once(ec2, launch, name):
    ids = launch(2, ClientToken=name)
    assert sorted(launch(2, ClientToken=name, wait=False)) == sorted(ids)
    with refused("IdempotentParameterMismatch", 400):
        launch(2, ClientToken=name, InstanceType="c5.large", wait=False)


def test_instances_are_described_in_pages(ec2, launch, name):
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "page", "Value": name}]}]
    ids = {launch(wait=False, TagSpecifications=tags)[0] for _ in range(7)}
    filters = [{"Name": "tag:page", "Values": [name]}]
    page = ec2.describe_instances(Filters=filters, MaxResults=5)
    rest = ec2.describe_instances(Filters=filters, MaxResults=5, NextToken=page["NextToken"])
    assert (len(instances_of(page)), len(instances_of(rest))) == (5, 2)
    assert {one["InstanceId"] for one in instances_of(page) + instances_of(rest)} == ids
    assert "NextToken" not in rest


def test_the_status_of_running_instances_is_listed(ec2, launch):
    running, stopped = launch(2)
    ec2.stop_instances(InstanceIds=[stopped])
    in_state(ec2, [stopped], "stopped")
    found = ec2.describe_instance_status(InstanceIds=[running, stopped])["InstanceStatuses"]
    assert [one["InstanceId"] for one in found] == [running]
    assert found[0]["InstanceState"]["Name"] == "running"
    assert {"InstanceStatus", "SystemStatus", "AvailabilityZone"} <= set(found[0])
    every = ec2.describe_instance_status(InstanceIds=[running, stopped], IncludeAllInstances=True)
    assert {one["InstanceId"]: one["InstanceState"]["Name"] for one in every["InstanceStatuses"]} == {
        running: "running", stopped: "stopped"}


def test_the_console_shows_the_output_of_the_machine(ec2, launch):
    instance, = launch()
    output = eventually(lambda: ec2.get_console_output(InstanceId=instance).get("Output"))
    # boto3 decodes it.
    assert "hello from the instance" in output


def test_attributes_are_described_and_changed(ec2, launch):
    instance, = launch(UserData="A=1")
    described = ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")
    assert base64.b64decode(described["UserData"]["Value"]) == b"A=1"
    behavior = "instanceInitiatedShutdownBehavior"
    described = ec2.describe_instance_attribute(InstanceId=instance, Attribute=behavior)
    assert described["InstanceInitiatedShutdownBehavior"]["Value"] == "stop"
    ec2.modify_instance_attribute(InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    described = ec2.describe_instance_attribute(InstanceId=instance, Attribute=behavior)
    assert described["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


def test_an_instance_may_be_protected_from_termination(ec2, launch):
    instance, = launch(DisableApiTermination=True)
    with refused("OperationNotPermitted", 400):
        ec2.terminate_instances(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[instance])


def test_the_type_of_a_stopped_instance_may_be_changed(ec2, launch):
    instance, = launch(InstanceType="t3.micro")
    with refused("IncorrectInstanceState", 400):
        ec2.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": "t3.small"})
    ec2.stop_instances(InstanceIds=[instance])
    in_state(ec2, [instance], "stopped")
    ec2.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": "t3.small"})
    found, = instances_of(ec2.describe_instances(InstanceIds=[instance]))
    assert found["InstanceType"] == "t3.small"
