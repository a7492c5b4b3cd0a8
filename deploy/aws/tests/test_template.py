"""The template, the scripts and the user data by themselves."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from conftest import DEPLOY, ENVIRONMENT, REPOSITORY, missing

BUCKETS = ("InBucket", "OutBucket", "ScalerBucket")


class Loader(yaml.SafeLoader):
    """Reads !Ref, !Sub and so on as {tag: value}."""


def tagged(loader, suffix, node):
    construct = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: loader.construct_sequence,
                 yaml.MappingNode: loader.construct_mapping}[type(node)]
    return {suffix: construct(node) if isinstance(node, yaml.ScalarNode) else construct(node, deep=True)}


Loader.add_multi_constructor("!", tagged)


@pytest.fixture(scope="module")
def text():
    return subprocess.run([DEPLOY / "up", "--template"], text=True, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def resources(text):
    return yaml.load(text, Loader)["Resources"]


def test_lint(text, tmp_path):
    (tmp_path / "template.yaml").write_text(text)
    done = subprocess.run([ENVIRONMENT / "bin" / "cfn-lint", tmp_path / "template.yaml"], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(text.encode()) < 51200, "larger templates need a bucket"


def policy(name):
    return json.loads((DEPLOY / "iam" / f"{name}.json").read_text())


def test_policies_are_the_files(resources):
    for role, names in (("WebRole", ("front", "scaler", "web-logs")), ("WorkerRole", ("worker", "worker-logs"))):
        policies = {item["PolicyName"]: item["PolicyDocument"] for item in resources[role]["Properties"]["Policies"]}
        assert policies == {name: policy(name) for name in names}


def test_each_policy_file_is_used_once():
    templates = [(DEPLOY / name).read_text() for name in ("template.yaml", "functions.yaml")]
    used = [document for template in templates for document in re.findall(r"\bPolicyDocument:(.*)", template)]
    assert sorted(used) == sorted(f" iam/{file.name}" for file in (DEPLOY / "iam").iterdir())


def test_instances_write_only_their_own_logs():
    """Only the CloudWatch agent makes these calls, so the test of least privilege in loadgen, a run of Muster, cannot record them."""
    for role, group in (("web", "WebLog"), ("worker", "WorkerLog")):
        # The agent makes its streams, looks whether they are there, and writes. The stack makes the group and sets its retention.
        assert policy(f"{role}-logs")["Statement"] == [{
            "Sid": "Log", "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            "Resource": {"Fn::GetAtt": [group, "Arn"]}}]


def test_everything_that_can_have_tags_has_the_prefix(resources):
    without = {"AWS::IAM::InstanceProfile", "AWS::EC2::SecurityGroupIngress", "AWS::EC2::EIPAssociation"}
    for name, resource in resources.items():
        if resource["Type"] not in without:
            assert {"Key": "muster-prefix", "Value": {"Ref": "Prefix"}} in resource["Properties"]["Tags"], name


def test_buckets_are_private(resources):
    buckets = [name for name, resource in resources.items() if resource["Type"] == "AWS::S3::Bucket"]
    assert sorted(buckets) == sorted(BUCKETS)
    for name in buckets:
        block = resources[name]["Properties"]["PublicAccessBlockConfiguration"]
        assert block == dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True)
        assert "SSEAlgorithm" in str(resources[name]["Properties"]["BucketEncryption"])


def test_the_web_instance_is_hardened(resources):
    web = resources["Web"]["Properties"]
    assert web["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    disk = web["BlockDeviceMappings"][0]["Ebs"]
    assert disk["Encrypted"] and disk["VolumeType"] == "gp3" and disk["DeleteOnTermination"]
    assert web["SecurityGroupIds"] == [{"GetAtt": "WebGroup.GroupId"}]
    assert web["PropagateTagsToVolumeOnCreation"]


def test_ingress(resources):
    found = {}
    for name, resource in resources.items():
        if resource["Type"] == "AWS::EC2::SecurityGroup":
            found[name] = [(rule["FromPort"], rule["ToPort"], str(rule.get("CidrIp") or rule["SourceSecurityGroupId"]))
                           for rule in resource["Properties"].get("SecurityGroupIngress", [])]
        elif resource["Type"] == "AWS::EC2::SecurityGroupIngress":
            rule = resource["Properties"]
            assert (name, resource["Condition"], rule["FromPort"], rule["ToPort"], rule["CidrIp"]) == \
                ("WebSsh", "HasKey", 22, 22, {"Ref": "AllowedCidr"})
    allowed, workers = "{'Ref': 'AllowedCidr'}", "{'GetAtt': 'WorkerGroup.GroupId'}"
    # The endpoint has private addresses.
    assert found == {"WebGroup": [(8000, 8000, allowed), (8052, 8052, workers)], "WorkerGroup": [],
                     "EndpointGroup": [(443, 443, "0.0.0.0/0")]}


def test_alarms(resources):
    found = {resource["Properties"]["AlarmName"]["Sub"]: (resource["Condition"], resource["Properties"]["Threshold"])
             for resource in resources.values() if resource["Type"] == "AWS::CloudWatch::Alarm"}
    assert found == {"${Prefix}-bill": ("HasBilling", {"Ref": "AlarmDollars"}), "${Prefix}-dead-letters": ("HasEmail", 0),
                     "${Prefix}-waiting": ("HasEmail", 180), "${Prefix}-web": ("HasEmail", 0)}
    operations = (REPOSITORY / "docs" / "operations.md").read_text()
    for name in found:
        assert f"| `{name.replace('${Prefix}', 'PREFIX')}` |" in operations, "what it means"


def rows(page, heading):
    """Returns the cells of the table with this heading, without backticks."""
    table = (REPOSITORY / "docs" / page).read_text().split(f"\n{heading}\n", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def test_documented_defaults(text):
    parameters = yaml.load(text, Loader)["Parameters"]
    for names, defaults, _ in rows("aws.md", "| parameter | default | notes |"):
        names = names.split(", ")
        for name, default in zip(names, [defaults] if len(names) == 1 else defaults.split(", "), strict=False):
            # deploy/aws/up finds those without a default.
            assert str(parameters[name].get("Default", default)) == default.replace("none", ""), name


def test_documented_costs():
    lines = (DEPLOY / "prices.tsv").read_text().splitlines()
    price = {name: float(dollars) for name, dollars in (line.split("\t") for line in lines if not line.startswith("#"))}
    disk = 8 * price["disk"]
    hours = {"web instance (t3.small), its disk and address": price["t3.small"] + disk + price["address"],
             "a worker that runs (c7i.large), its disk and address": price["c7i.large"] + disk + price["address"],
             "a worker that is stopped (8 GiB of disk)": disk, "the image's snapshot (about 3 GiB)": 3 * price["snapshot"],
             "endpoint of SQS in each subnet, if workers have no public address": price["endpoint"]}
    for what, hour, month in rows("aws.md", "| what | an hour | a month |"):
        if not what.startswith("four alarms"):
            dollars = hours.pop(what)
            for shown, exact in ((hour, dollars), (month, 730 * dollars)):
                assert not shown or shown == f"{exact:.{len(shown.partition('.')[2])}f}", what
    assert not hours


def test_documented_effects_on_the_web_instance(text, resources):
    """A property that only creation sets replaces an instance. CloudFormation's documentation says it of disks too."""
    properties, parameters = resources["Web"]["Properties"], set(yaml.load(text, Loader)["Parameters"])
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", "AWS::EC2::Instance").schema
    replacing = {name.rpartition("/")[2] for name in schema["createOnlyProperties"]} | {"BlockDeviceMappings"}
    # The subnet is one of the VPC.
    sets = {True: {"VpcId"}, False: set()}
    for name, value in properties.items():
        sets[name in replacing] |= set(re.findall(r"(?<='Ref': ')\w+|(?<=\$\{)\w+(?=\})", str(value)))
    (replaced, _), (restarted, _), (untouched, _) = rows("operations.md", "| parameter that changes | web instance |")
    named = [set(re.findall(r"\b(?:[A-Z][a-z]+){2,}\b|\bSettings\b", row)) for row in (replaced, restarted, untouched)]
    # A new image has both of these.
    assert sets[True] & parameters - {"ImageId", "RootDevice"} == named[0]
    assert named[1] <= sets[False] - sets[True] and not named[2] & (sets[True] | sets[False])


def test_the_page_about_aws_has_two_pages():
    """About 500 words a printed page, tables and commands included."""
    assert len((REPOSITORY / "docs" / "aws.md").read_text().split()) <= 1000


def test_scripts():
    scripts = [DEPLOY / name for name in ("up", "down", "status", "image", "functions")]
    for script in [*scripts, DEPLOY / "lib.sh"]:
        subprocess.run(["bash", "-n", script], check=True)
    if not shutil.which("shellcheck"):
        missing("SHELLCHECK IS MISSING (Debian: apt-get install shellcheck): the scripts were only parsed", pytest.skip)
    # Empty assignments, and single quotes around JMESPath, are meant.
    done = subprocess.run(["shellcheck", "--external-sources", "--severity=warning", "--exclude=SC1007", *scripts],
                          text=True, capture_output=True, cwd=DEPLOY)
    assert done.returncode == 0, done.stdout


def test_each_service_has_a_log_stream(tmp_path):
    script = re.search(r"<<'LOGS'\n(.*?)\nLOGS\n", (DEPLOY / "image").read_text(), re.DOTALL)[1]
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    script = script.replace("/opt/aws/amazon-cloudwatch-agent/etc", str(tmp_path))
    subprocess.run(["sh", "-c", script, "muster-logs", "/muster/acme/web"], check=True,
                   env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    settings = json.loads((tmp_path / "amazon-cloudwatch-agent.json").read_text())
    assert settings["logs"]["logs_collected"]["files"]["collect_list"] == [
        {"file_path": f"/var/log/muster/muster-{name}.log", "log_group_name": "/muster/acme/web",
         "log_stream_name": f"{{instance_id}}/{name}"} for name in ("front", "gateway", "scaler", "worker")]


def test_prices_are_numbers():
    lines = [line for line in (DEPLOY / "prices.tsv").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+\t0?\.?[0-9.]+", line) for line in lines)
    names = [line.split("\t")[0] for line in lines]
    assert len(names) == len(set(names)) and {"address", "endpoint", "disk", "snapshot"} <= set(names)


def test_settings_exist(programs, resources):
    """Each setting of the user data is one that a program knows."""
    names = {name for part in resources["Web"]["Properties"]["UserData"]["Fn::Base64"]["Sub"][:1]
             for name in re.findall(r"^ *(MUSTER_[A-Z_]+)=", part, re.MULTILINE)}
    assert len(names) > 25
    known = {"MUSTER_HTTP_LISTEN"}
    for program, *arguments in (["front"], ["gateway"], ["scaler"], ["scaler", "status"], ["worker", "serve"]):
        known |= set(re.findall(r"MUSTER_[A-Z_]+", subprocess.run(
            [programs / program, *arguments, "--help"], text=True, capture_output=True, check=True).stdout))
    assert names - known == set()
