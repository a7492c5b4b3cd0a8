"""Tags, and filters on them and on other properties."""

import pytest
from conftest import IMAGE, instances_of, refused


def tags(**pairs):
    return [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in pairs.items()]}]


@pytest.fixture
def three(launch, name):
    """Three instances: web, app-1 and app-2."""
    return {role: launch(TagSpecifications=tags(Name=f"{name}-{role}", owner=name))[0]
            for role in ("web", "app-1", "app-2")}


def found(ec2, owner, *filters):
    chosen = [{"Name": "tag:owner", "Values": [owner]}]
    chosen += [{"Name": key, "Values": values} for key, values in filters]
    return {one["InstanceId"] for one in instances_of(ec2.describe_instances(Filters=chosen))}


def test_filters_take_wildcards_and_several_values(ec2, three, name):
    apps = {three["app-1"], three["app-2"]}
    assert found(ec2, name) == set(three.values())
    assert found(ec2, name, ("tag:Name", [f"{name}-app*"])) == apps
    assert found(ec2, name, ("tag:Name", [f"{name}-app-?"])) == apps
    assert found(ec2, name, ("tag:Name", [f"{name}-web", f"{name}-app-1"])) == {three["web"], three["app-1"]}
    assert found(ec2, name, ("tag:Name", [f"{name}-APP*"])) == set()
    assert found(ec2, name, ("tag-key", ["own*"])) == set(three.values())


def test_a_backslash_makes_a_wildcard_literal(ec2, launch, name):
    starred, = launch(TagSpecifications=tags(Name="a*b", owner=name))
    launch(TagSpecifications=tags(Name="axb", owner=name))
    assert found(ec2, name, ("tag:Name", [r"a\*b"])) == {starred}


def test_filters_select_by_properties(ec2, three, name):
    everyone = set(three.values())
    for key, value in [("instance-state-name", "running"), ("instance-state-code", "16"), ("image-id", IMAGE),
                       ("availability-zone", "us-east-1*")]:
        assert found(ec2, name, (key, [value])) == everyone, key
    assert found(ec2, name, ("instance-id", [three["web"]])) == {three["web"]}
    assert found(ec2, name, ("instance-state-name", ["stopped", "terminated"])) == set()
    assert found(ec2, name, ("instance-type", ["m9.none"])) == set()


def test_an_unknown_filter_is_refused(ec2):
    with refused("InvalidParameterValue", 400):
        ec2.describe_instances(Filters=[{"Name": "color", "Values": ["red"]}])


def test_a_launch_takes_several_tag_specifications(ec2, launch):
    volume = {"ResourceType": "volume", "Tags": [{"Key": "of", "Value": "volume"}]}
    instance, = launch(TagSpecifications=[*tags(a="1", b="2"), volume])
    found, = instances_of(ec2.describe_instances(InstanceIds=[instance]))
    assert {tag["Key"]: tag["Value"] for tag in found["Tags"]} == {"a": "1", "b": "2"}


def test_tags_are_created_described_and_deleted(ec2, launch):
    instance, = launch()
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "2"}])
    of_instance = [{"Name": "resource-id", "Values": [instance]}]
    described = ec2.describe_tags(Filters=of_instance)["Tags"]
    assert sorted((tag["Key"], tag["Value"], tag["ResourceType"]) for tag in described) == [
        ("a", "2", "instance"), ("b", "", "instance")]
    ec2.delete_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "other"}])
    ec2.delete_tags(Resources=[instance], Tags=[{"Key": "b"}])
    assert [tag["Key"] for tag in ec2.describe_tags(Filters=of_instance)["Tags"]] == ["a"]


def test_tags_have_limits(ec2, launch):
    instance, = launch()
    with refused("InvalidParameterValue", 400):
        ec2.create_tags(Resources=[instance], Tags=[{"Key": "aws:mine", "Value": "x"}])
    with refused("InvalidParameterValue", 400):
        ec2.create_tags(Resources=[instance], Tags=[{"Key": "k" * 129, "Value": "x"}])
    with refused("TagLimitExceeded", 400):
        ec2.create_tags(Resources=[instance], Tags=[{"Key": str(number), "Value": "x"} for number in range(51)])
