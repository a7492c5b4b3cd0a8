"""From nothing to a photo that is answered, and back to nothing."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import requests
from conftest import ACCOUNT, DEPLOY, REGION, REPOSITORY, meanwhile, missing, release, until

PREFIX = f"muster-{ACCOUNT}"
MODELS = REPOSITORY / ".local" / "models" / "facenet128"
PHOTOS = REPOSITORY / ".local" / "photos"


def check_user_data(text, folder):
    # Unpacked beside this Python by scripts/setup_lib/deploy.py.
    modules = Path(sys.prefix).parent / "cloud-init" / "usr" / "lib" / "python3" / "dist-packages"
    if not modules.exists():
        missing("CLOUD-INIT IS MISSING: user data was not checked by its schema. On Debian scripts/setup fetches it", warnings.warn)
        return
    (folder / "user-data").write_text(text)
    check = [sys.executable, "-m", "cloudinit.cmd.main", "schema", "--config-file", folder / "user-data"]
    done = subprocess.run(check, text=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(modules)})
    assert done.returncode == 0, done.stdout + done.stderr


def bake(cloud, archive):
    """The instance that bakes: fetches the release and switches itself off."""
    # moto shows an instance before its disk.
    instance = until(lambda: [instance for instance in cloud.instances(states=["running"], Name="muster-image")
                              if instance["BlockDeviceMappings"]], what="the instance that bakes")[0]
    script = cloud.user_data(instance["InstanceId"])
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    address = re.search(r"-o archive.tar.zst '(.*)'", script)[1]
    fetched = requests.get(address, timeout=10)
    assert fetched.content == archive.read_bytes()
    assert f"echo '{hashlib.sha256(fetched.content).hexdigest()}  archive.tar.zst' | sha256sum --check" in script
    assert "./install --role both --log-files --photo /root/photo" in script and "systemctl poweroff" in script
    photo = requests.get(re.search(r"-o /root/photo '(.*)'", script)[1], timeout=10)
    assert photo.content.startswith(b"\xff\xd8"), "no JPEG for the self-test"
    # apt's own timers hold its locks at a first boot.
    commands = script.splitlines()
    assert commands.index(next(line for line in commands if line.startswith("systemctl stop apt-daily.timer"))) < \
        commands.index("apt-get update -q")
    assert "systemctl --quiet disable apt-daily.timer apt-daily-upgrade.timer || true" in commands
    assert "truncate -s 0 /etc/machine-id" in script and "--machine-id" not in script, "a first boot would follow"
    assert "IamInstanceProfile" not in instance and instance["ImageId"] == "ami-00000000000000002"
    [mapping] = instance["BlockDeviceMappings"]
    [disk] = cloud.client("ec2").describe_volumes(VolumeIds=[mapping["Ebs"]["VolumeId"]])["Volumes"]
    assert disk["Encrypted"], "some accounts refuse others"
    assert mapping["Ebs"]["DeleteOnTermination"], "it would stay"
    cloud.client("ec2").stop_instances(InstanceIds=[instance["InstanceId"]])


def boot_web(cloud, machines, programs, folder, setting="", web=None):
    """The web instance whose user data matches this setting: runs the services, also on the machine that it has been."""
    def with_setting():
        found = cloud.instances(states=["running"], Name="web-instance", muster_prefix=PREFIX)
        return [text for text in (cloud.user_data(instance["InstanceId"]) for instance in found) if re.search(setting, text)]

    user_data = until(with_setting, what="the web instance")[0]
    assert "muster_user" not in user_data, "the API key itself is in the user data"
    check_user_data(user_data, folder)
    web = web or machines(f"web-{len(list(folder.glob('web-*')))}")
    console = web.boot(user_data)
    assert web.boot(user_data) == console, "a second boot makes other certificates"
    assert web.started.read_text().splitlines()[0] == "start --no-block muster-web.target"
    assert f"logs /muster/{PREFIX}/web" in web.started.read_text()
    assert "start --no-block apt-daily.timer apt-daily-upgrade.timer" in web.started.read_text()
    for name, mode in (("settings", 0o600), ("api-keys.toml", 0o640), ("worker-user-data", 0o640)):
        assert web.file(name).stat().st_mode & 0o777 == mode
    aws = {"AWS_ENDPOINT_URL": cloud.endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    web.start("front", programs / "front", MUSTER_FRONT_LISTEN=f"127.0.0.1:{machines.ports[8051]}", **aws)
    web.start("scaler", programs / "scaler", MUSTER_BOOT_TIME="1s", **aws)
    web.start("gateway", programs / "gateway", "--listen", web.settings()["MUSTER_HTTP_LISTEN"], **aws)
    cloud.gateway.write_text(str(machines.ports[8000]))
    # A console is longer than a pipe.
    cloud.console.write_text(f"[    3.2] cloud-init[612]: {console}\n" + "[    9.9] more\n" * 20_000)
    return web


def boot_worker(cloud, machines, programs, folder, image, web):
    """A worker that the scaler launches: attends it with the fleet's token of its own user data."""
    instance = until(lambda: cloud.instances(states=["running"], Name="app-tier-instance-1", image_id=image), what="a launch")[0]
    user_data = web.written(cloud.user_data(instance["InstanceId"]))
    check_user_data(user_data, folder)
    worker = machines("worker")
    worker.boot(user_data)
    assert worker.started.read_text().splitlines() == ["start --no-block muster-worker.service", f"logs /muster/{PREFIX}/worker"]
    assert "@MUSTER_FLEET_TOKEN@" not in worker.file("settings").read_text()
    worker.start("worker", programs / "worker", "serve", AWS_ENDPOINT_URL=cloud.endpoint, AWS_ACCESS_KEY_ID="test",
                 AWS_SECRET_ACCESS_KEY="test", EC2_INSTANCE_ID=instance["InstanceId"], MUSTER_MODELS=str(MODELS),
                 MUSTER_GALLERY=str(folder / "gallery.safetensors"), AWS_EC2_METADATA_DISABLED="true")
    return worker, instance


def attributes(cloud):
    sqs = cloud.client("sqs")
    found = {}
    for name in ("req-queue", "req-dead-letter-queue"):
        url = sqs.get_queue_url(QueueName=f"{PREFIX}-{name}")["QueueUrl"]
        all_of = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        found[name] = {key: all_of.get(key) for key in ("VisibilityTimeout", "MaximumMessageSize", "MessageRetentionPeriod",
                                                        "DelaySeconds", "ReceiveMessageWaitTimeSeconds")}
        policy = all_of.get("RedrivePolicy")
        found[name]["RedrivePolicy"] = policy and {key: str(value) for key, value in json.loads(policy).items()}
    return found


def check_resources(cloud):
    ec2, iam, s3 = cloud.client("ec2"), cloud.client("iam"), cloud.client("s3")
    tag = {"Key": "muster-prefix", "Value": PREFIX}
    for role, names in (("web", ["front", "scaler"]), ("worker", ["worker"])):
        found = iam.get_role(RoleName=f"{PREFIX}-{role}")["Role"]
        assert tag in found["Tags"]
        for name in names:
            document = iam.get_role_policy(RoleName=found["RoleName"], PolicyName=name)["PolicyDocument"]
            # moto shows the policy of a template in Python's notation.
            assert ast.literal_eval(document) == json.loads((DEPLOY / "iam" / f"{name}.json").read_text())
        document = iam.get_role_policy(RoleName=found["RoleName"], PolicyName=f"{role}-logs")["PolicyDocument"]
        assert f":{ACCOUNT}:log-group:/muster/{PREFIX}/{role}" in ast.literal_eval(document)["Statement"][0]["Resource"]
        profile = iam.get_instance_profile(InstanceProfileName=f"{PREFIX}-{role}")["InstanceProfile"]
        assert [role["RoleName"] for role in profile["Roles"]] == [found["RoleName"]]
    groups = ec2.describe_security_groups(Filters=[{"Name": "tag:muster-prefix", "Values": [PREFIX]}])["SecurityGroups"]
    rules = {(rule["FromPort"], *(entry["CidrIp"] for entry in rule["IpRanges"]), *(pair["GroupId"] for pair in rule["UserIdGroupPairs"]))
             for group in groups for rule in group["IpPermissions"]}
    worker = next(group["GroupId"] for group in groups if group["Description"].startswith("Workers"))
    assert len(groups) == 2 and rules == {(8000, "203.0.113.7/32"), (8052, worker)}
    for bucket in ("in", "out", "scaler"):
        assert tag in s3.get_bucket_tagging(Bucket=f"{PREFIX}-{bucket}-bucket")["TagSet"]
    block = s3.get_public_access_block(Bucket=f"{PREFIX}-release-bucket")["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True} and "Contents" not in s3.list_objects_v2(Bucket=f"{PREFIX}-release-bucket")
    logs = cloud.client("logs").describe_log_groups(logGroupNamePrefix="/muster/")["logGroups"]
    assert {(group["logGroupName"], group["retentionInDays"]) for group in logs} == \
        {(f"/muster/{PREFIX}/{name}", 14) for name in ("web", "worker")}


def others(cloud):
    """What is not of this prefix, and has to stay."""
    ec2, s3 = cloud.client("ec2"), cloud.client("s3")
    launched = ec2.run_instances(ImageId="ami-00000000000000001", MinCount=2, MaxCount=2)["Instances"]
    first, second = [instance["InstanceId"] for instance in launched]
    ec2.create_tags(Resources=[first], Tags=[{"Key": "Name", "Value": "app-tier-instance-1"}])
    ec2.create_tags(Resources=[second], Tags=[{"Key": "Name", "Value": "web-instance"}, {"Key": "muster-prefix", "Value": PREFIX + "-b"}])
    image = ec2.create_image(InstanceId=second, Name="other", TagSpecifications=[
        {"ResourceType": "image", "Tags": [{"Key": "muster-prefix", "Value": PREFIX + "-b"}]}])["ImageId"]
    for bucket in (f"{PREFIX}-b-in-bucket", "foreign"):
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="photo.jpg", Body=b"1")
    queue = cloud.client("sqs").create_queue(QueueName=f"{PREFIX}-b-resp-queue-0123456789ab")["QueueUrl"]

    def are_there():
        running = {instance["InstanceId"] for instance in cloud.instances(states=["running"])}
        assert {first, second} <= running
        assert ec2.describe_images(ImageIds=[image])["Images"]
        assert queue in cloud.client("sqs").list_queues()["QueueUrls"]
        for bucket in (f"{PREFIX}-b-in-bucket", "foreign"):
            assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    return are_there


def test_cycle(cloud, machines, programs, archive, tmp_path):
    ec2 = cloud.client("ec2")
    others_are_there = others(cloud)
    before = inventory(cloud)
    web = None

    # A dry run makes nothing, and neither does a run without a terminal.
    said = cloud.run("up", "--dry-run", "--archive", str(archive), "AllowedCidr=203.0.113.7/32")
    assert "MaxWorkers=15" in said and "1 EC2::Instance" in said and "always (web instance t3.small" in said
    assert "without taxes" in said and "not known" not in said.replace("The quota of vCPUs is not known", "")
    assert "say --yes" in cloud.run("up", "--archive", str(archive), "AllowedCidr=203.0.113.7/32", status=1)
    assert inventory(cloud) == before

    def play():
        nonlocal web
        bake(cloud, archive)
        web = boot_web(cloud, machines, programs, tmp_path)

    arguments = ("--yes", "AllowedCidr=203.0.113.7/32", "AlarmEmail=me@example.com", "AlarmDollars=20", "MaxWorkers=3",
                 "Settings=MUSTER_LOG=info,scaler=debug MUSTER_POLICY=step", "WorkerSettings=MUSTER_JOBS=1")
    queues = {}
    try:
        with meanwhile(play):
            said = cloud.run("up", "--archive", str(archive), *arguments)
    except AssertionError:
        print(web.log() if web else "")
        raise
    key = cloud.home / ".config" / "muster" / f"{PREFIX}.key"
    assert str(key) in said and key.stat().st_mode & 0o777 == 0o600 and key.read_text().strip() not in said
    assert not cloud.instances(Name="muster-image"), "the instance that baked runs on"
    images = ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag:muster-prefix", "Values": [PREFIX]}])["Images"]
    assert len(images) == 1
    tags = {tag["Key"]: tag["Value"] for tag in images[0]["Tags"]}
    assert tags["muster-version"] == "1.2.3" and tags["muster-archive"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    check_resources(cloud)
    settings = web.settings()
    assert settings["MUSTER_WORKER_IMAGE"] == images[0]["ImageId"] and settings["MUSTER_MAX_WORKERS"] == "3"
    assert settings["MUSTER_PRICES"] == "c7i.large=0.08925,m7i.large=0.1008,c6i.large=0.085" and settings["MUSTER_POLICY"] == "step"
    assert settings["MUSTER_LOG"] == "info,scaler=debug"

    # Front found the queues as it would have made them.
    until(lambda: "buckets and queues are ready" in web.log(), what="front")
    queues = attributes(cloud)
    assert queues["req-queue"]["RedrivePolicy"]["maxReceiveCount"] == "5"
    assert queues == template_attributes(queues)

    # A photo is answered by a worker that the scaler launches.
    if not (MODELS / "bundle.json").exists():
        pytest.fail("the model is missing: scripts/setup && scripts/model --engine native --for-other-machines")
    subprocess.run([programs / "worker", "enrol", "--engine", "native", "--photos", PHOTOS / "train", "--models", MODELS,
                    "--gallery", tmp_path / "gallery.safetensors"], check=True, capture_output=True)
    line = re.search(r"^  (curl .*)$", said, re.MULTILINE)[1]
    photo = Path(re.search(r"inputFile=@(\S+)", line)[1])
    assert PHOTOS / "val" in photo.parents
    worker = None

    def answer():
        nonlocal worker
        worker, instance = boot_worker(cloud, machines, programs, tmp_path, images[0]["ImageId"], web)
        assert instance["InstanceType"] == "c7i.large"

    try:
        with meanwhile(answer):
            answered = subprocess.run(["bash", "-c", line], env=cloud.environment, text=True, capture_output=True, timeout=100)
            assert f"{photo.stem}:{photo.parent.name}" in answered.stdout, answered.stdout + answered.stderr
    except AssertionError:
        print(web.log(), worker.log() if worker else "")
        raise
    assert worker.settings()["MUSTER_JOBS"] == "1"

    # The pages have the same command.
    shown = line.replace(str(key.with_suffix("")), "~/.config/muster/PREFIX").replace(str(photo), "PHOTO.jpg")
    shown = re.sub(r"https://[0-9.]+:", "https://ADDRESS:", shown)
    assert f"\n{shown}\n" in (REPOSITORY / "docs" / "aws.md").read_text()
    for own, readme in (("~/.config/muster/PREFIX.pem", "CERTIFICATE"), ("~/.config/muster/PREFIX.key", "KEY"), ("PHOTO.jpg", "PHOTO")):
        shown = shown.replace(own, readme)
    assert f"\n{shown}\n" in (REPOSITORY / "README.md").read_text()

    # Nothing changes when it runs again, and no image is baked.
    stack = cloud.client("cloudformation")
    made = stack.describe_stacks(StackName=PREFIX)["Stacks"][0]
    first = inventory(cloud)
    key_before = key.read_text()
    # A console keeps its last 64 KB: the certificate is known already.
    cloud.console.write_text("")
    cloud.run("up", "--yes", "--archive", str(archive))
    assert inventory(cloud) == first and key.read_text() == key_before
    assert stack.describe_stacks(StackName=PREFIX)["Stacks"][0].get("LastUpdatedTime") == made.get("LastUpdatedTime")

    # moto makes no alarms of a template.
    watch = cloud.client("cloudwatch")
    watch.put_metric_alarm(AlarmName=f"{PREFIX}-bill", EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold")
    said = cloud.run("status")
    watch.delete_alarms(AlarmNames=[f"{PREFIX}-bill"])
    assert "is ready" in said and "CREATE_COMPLETE" in said and images[0]["ImageId"] in said and f"{PREFIX}-bill" in said

    # A worker as the scaler launches it.
    ec2.run_instances(ImageId=images[0]["ImageId"], MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": [
        {"Key": "muster-prefix", "Value": PREFIX}, {"Key": "Name", "Value": "app-tier-instance-9"}]}])
    # And the reply queue of a front that was killed.
    cloud.client("sqs").create_queue(QueueName=f"{PREFIX}-resp-queue-0123456789ab")
    assert "would be removed" in cloud.run("down", "--dry-run")
    assert "say --yes" in cloud.run("down", status=1)
    web.stop()
    cloud.run("down", "--yes")
    check_gone(cloud, images[0])
    others_are_there()
    cloud.run("down", "--yes")
    assert "there is no stack" in cloud.run("status", status=1)


def test_upgrade_and_change(cloud, machines, programs, archive, clone, tmp_path):
    """To a second release, back by --image, and with two parameters changed. What is not named stays."""
    up, stack = clone / "deploy" / "aws" / "up", cloud.client("cloudformation")
    keys = tmp_path / "keys.toml"
    made = subprocess.run([programs / "gateway", "keys", "--api-keys", keys, "add", "shop", "--role", "recognize"], check=True,
                          text=True, capture_output=True).stdout
    key = re.search(r"muster_shop_\w+", made)[0]
    certificate = cloud.home / ".config" / "muster" / f"{PREFIX}.pem"
    (clone / ".local").symlink_to(REPOSITORY / ".local")
    web = None

    def change(*arguments, setting, baked=None, same=None):
        """Returns the stack's parameters after `up`, and the certificate."""
        nonlocal web
        if web:
            web.stop()

        def play():
            nonlocal web
            if baked:
                bake(cloud, baked)
            web = boot_web(cloud, machines, programs, tmp_path, setting, same)

        with meanwhile(play):
            cloud.run(up, "--yes", *arguments)
        answered = requests.get(f"https://127.0.0.1:{machines.ports[8000]}/v1/results/none", headers={"x-api-key": key},
                                verify=certificate, timeout=10)
        assert answered.status_code == 404, "the key of --api-keys is not taken"
        found = stack.describe_stacks(StackName=PREFIX)["Stacks"][0]["Parameters"]
        return {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in found}, certificate.read_text()

    first, of_first = change("--archive", str(archive), "--api-keys", str(keys), "AllowedCidr=203.0.113.7/32", "MaxWorkers=3",
                             "LogDays=7", setting="MUSTER_MAX_WORKERS=3", baked=archive)
    assert f"API key      one of {keys}" in cloud.out and '-H "x-api-key: KEY"' in cloud.out
    assert not certificate.with_suffix(".key").exists()

    other = release(tmp_path, "1.3.0")
    (clone / "scripts" / "package").write_text(f"#!/bin/sh\necho {other}\n")
    second, of_second = change("--upgrade", setting=f"MUSTER_WORKER_IMAGE=(?!{first['ImageId']})", baked=other)
    assert second == first | {"ImageId": second["ImageId"]} and second["ImageId"] != first["ImageId"]
    assert web.settings()["MUSTER_WORKER_IMAGE"] == second["ImageId"] and of_second != of_first
    said = cloud.run("status")
    assert "UPDATE_COMPLETE" in said and re.search(r"1\.2\.3.*\n.*1\.3\.0", said)

    back, of_back = change("--image", first["ImageId"], setting=f"MUSTER_WORKER_IMAGE={first['ImageId']}")
    assert back == first and of_back not in (of_first, of_second)

    changed, of_changed = change("MaxWorkers=30", "Market=spot", setting="MUSTER_MAX_WORKERS=30", same=web)
    assert changed == first | {"MaxWorkers": "30", "Market": "spot"} and of_changed == of_back
    assert web.settings()["MUSTER_WORKER_MARKET"] == "spot" and web.settings()["MUSTER_WORKER_IMAGE"] == first["ImageId"]

    web.stop()
    cloud.answer("*get-role*AWSServiceRoleForEC2Spot*", "found")
    said = cloud.run("down", "--yes", "--keep-images")
    assert "images: none (--keep-images)" in said and "log groups. Nothing else was looked for" in said
    assert f"Left: the images {first['ImageId']} {second['ImageId']}." in said
    assert "Left: the account's role AWSServiceRoleForEC2Spot" in said
    assert len(cloud.client("ec2").describe_images(ImageIds=[first["ImageId"], second["ImageId"]])["Images"]) == 2
    assert cloud.instances(muster_prefix=PREFIX) == [] and f"{PREFIX}-in-bucket" not in inventory(cloud)["buckets"]


def stack_of(cloud, *arguments):
    """Makes the stack, where nothing answers, and returns the user data of its web instance with the instance."""
    said = cloud.run("up", "--yes", "AllowedCidr=203.0.113.7/32", "--image", "ami-00000000000000001", *arguments, status=1,
                     MUSTER_READY_SECONDS="0")
    assert "nothing answers" in said
    [instance] = cloud.instances(Name="web-instance")
    return cloud.user_data(instance["InstanceId"]), instance


def launch(cloud, kind, **more):
    [instance] = cloud.client("ec2").run_instances(
        ImageId="ami-00000000000000001", InstanceType=kind, MinCount=1, MaxCount=1, TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "muster-prefix", "Value": PREFIX}]}], **more)["Instances"]
    return instance["InstanceId"]


def test_workers_without_public_address(cloud):
    ec2 = cloud.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"]["SubnetId"]
               for number, zone in enumerate("ab")]
    ec2.create_key_pair(KeyName="mine")
    arguments = ("WorkerPublicAddress=false", "Market=spot", "KeyName=mine", f"SubnetIds={','.join(subnets)}", "WebDiskGb=20")
    # Other VPCs than the default one have no host names at first.
    for attribute in ("support", "hostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc, **{f"EnableDns{attribute.title()}": {"Value": False}})
    for attribute in ("support", "hostnames"):
        said = cloud.run("up", "--dry-run", "AllowedCidr=203.0.113.7/32", *arguments, status=1)
        command = re.search(r"'(aws ec2 modify-vpc-attribute [^']*)'", said)[1]
        assert command == f"aws ec2 modify-vpc-attribute --vpc-id {vpc} --enable-dns-{attribute}"
        subprocess.run(["bash", "-c", command], env=cloud.environment | {"AWS_DEFAULT_REGION": REGION}, check=True)
    user_data, web = stack_of(cloud, *arguments)
    assert (web["SubnetId"], web["KeyName"]) == (subnets[0], "mine")
    for setting in (f"SUBNET={','.join(subnets)}", "MARKET=spot", "PUBLIC_IP=false"):
        assert f"MUSTER_WORKER_{setting}\n" in user_data
    endpoints = {endpoint["ServiceName"]: endpoint for endpoint in ec2.describe_vpc_endpoints()["VpcEndpoints"]}
    sqs, s3 = endpoints["com.amazonaws.us-east-1.sqs"], endpoints["com.amazonaws.us-east-1.s3"]
    assert sqs["VpcId"] == s3["VpcId"] == vpc and sorted(sqs["SubnetIds"]) == sorted(subnets) and sqs["PrivateDnsEnabled"]
    assert len(s3["RouteTableIds"]) == 1 and s3["VpcEndpointType"] == "Gateway"
    found = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    groups = {group["Description"]: group for group in found}
    endpoint = groups["The endpoint of SQS for Muster"]
    assert [rule["FromPort"] for rule in endpoint["IpPermissions"]] == [443]
    ssh = [rule for rule in groups["The web instance of Muster"]["IpPermissions"] if rule["FromPort"] == 22]
    assert [entry["CidrIp"] for rule in ssh for entry in rule["IpRanges"]] == ["203.0.113.7/32"]

    # Web instance 0.0208 and 20 GiB, its address 0.005, two endpoints 0.01, a worker 0.08925, a stopped one, 8 GiB each.
    launch(cloud, "c7i.large")
    ec2.stop_instances(InstanceIds=[launch(cloud, "c7i.large")])
    said = cloud.run("status", status=1)
    assert re.search(r"what runs now.* \$0\.1390\n", said) and "Spot" not in said, said
    launch(cloud, "m7i.large", InstanceMarketOptions={"MarketType": "spot"})
    said = cloud.run("status", status=1)
    assert re.search(r"what runs now.* \$0\.2407\n", said) and "Spot instances are in it with the price on demand" in said, said


def test_status_counts_images_and_addresses(cloud):
    """Web instance 0.0208, worker 0.08925, an address 0.005 and 8 GiB at 0.00011 each, a snapshot of 3 GiB at 0.00007."""
    stack_of(cloud)
    worker = launch(cloud, "c7i.large")
    cloud.client("ec2").create_image(InstanceId=worker, Name="baked", TagSpecifications=[
        {"ResourceType": "image", "Tags": [{"Key": "muster-prefix", "Value": PREFIX}]}])
    said = cloud.run("status", status=1)
    assert re.search(r"what runs now.* \$0\.1220\n", said) and "logs, alarms and stored photos are not in it" in said, said


def template_attributes(now):
    """The attributes that the template sets, which have to be those that front has set by now."""
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{PREFIX}-req-dead-letter-queue"
    rest = {"MessageRetentionPeriod": "345600", "DelaySeconds": "0", "ReceiveMessageWaitTimeSeconds": "0"}
    return {
        "req-queue": {"VisibilityTimeout": "7", "MaximumMessageSize": "1024",
                      "RedrivePolicy": {"deadLetterTargetArn": arn, "maxReceiveCount": "5"}, **rest},
        "req-dead-letter-queue": {"VisibilityTimeout": "30",
                                  "MaximumMessageSize": now["req-dead-letter-queue"]["MaximumMessageSize"], "RedrivePolicy": None, **rest},
    }


def inventory(cloud):
    """Names all that exists, of this prefix or not."""
    ec2 = cloud.client("ec2")
    return {
        "instances": sorted(instance["InstanceId"] for instance in cloud.instances()),
        "images": sorted(image["ImageId"] for image in ec2.describe_images()["Images"]),
        "groups": sorted(group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]),
        # moto releases no address with a stack.
        "addresses": len(ec2.describe_addresses()["Addresses"]),
        "snapshots": sorted(item["SnapshotId"] for item in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]),
        "buckets": sorted(bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]),
        "queues": sorted(cloud.client("sqs").list_queues().get("QueueUrls", [])),
        "roles": sorted(role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"]),
        "profiles": sorted(item["InstanceProfileName"] for item in cloud.client("iam").list_instance_profiles()["InstanceProfiles"]),
        "logs": sorted(group["logGroupName"] for group in cloud.client("logs").describe_log_groups()["logGroups"]),
        "alarms": sorted(alarm["AlarmName"] for alarm in cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]),
        "topics": sorted(topic["TopicArn"] for topic in cloud.client("sns").list_topics()["Topics"]),
        "stacks": sorted(item["StackName"] for item in cloud.client("cloudformation").describe_stacks()["Stacks"]),
    }


def check_gone(cloud, image):
    assert cloud.instances(muster_prefix=PREFIX) == []
    for kind, names in inventory(cloud).items():
        if isinstance(names, list):
            ours = [name for name in names if PREFIX in name and PREFIX + "-b" not in name]
            # An instance of a test, and the image of another prefix, have no name of ours.
            assert ours == [], kind
    left = inventory(cloud)
    assert image["ImageId"] not in left["images"]
    assert image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] not in left["snapshots"]
    groups = cloud.client("ec2").describe_security_groups(Filters=[{"Name": "tag:muster-prefix", "Values": [PREFIX]}])
    assert groups["SecurityGroups"] == []
