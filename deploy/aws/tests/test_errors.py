"""Errors name the cause and what to do next."""

import json
import os
import pty
import re
import subprocess

import pytest
from conftest import ACCOUNT, DEPLOY, free_port, is_open, until

HERE = "AllowedCidr=203.0.113.7/32"
PREFIX = f"muster-{ACCOUNT}"


def test_credentials(cloud):
    said = cloud.run("up", "--yes", status=1, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_CONFIG_FILE="/dev/null",
                     AWS_SHARED_CREDENTIALS_FILE="/dev/null")
    assert "There are no valid credentials: run 'aws configure'" in said


def test_region(cloud):
    assert "set AWS_REGION" in cloud.run("up", "--yes", status=1, AWS_REGION="", AWS_CONFIG_FILE="/dev/null")


@pytest.mark.parametrize("text, message", [
    ("An error occurred (ExpiredToken) when calling it", "The credentials have expired"),
    ("An error occurred (AccessDenied) when calling it: not authorized", "use one with more permissions"),
    ("An error occurred (InvalidParameterCombination): The specified instance type is not eligible for Free Tier.",
     "WorkerInstanceTypes=c7i-flex.large,m7i-flex.large"),
    ("An error occurred (PendingVerification) when calling it", "AWS still verifies the account for us-east-1"),
    ("An error occurred (InvalidInstanceType) when calling it", "us-east-1 does not have this type: name another one"),
    ("An error occurred (OperationAborted) when calling it", "for up to an hour"),
    ("An error occurred (OptInRequired) when calling it", "finish it at https://portal.aws.amazon.com/billing/signup"),
])
def test_first_call(cloud, text, message):
    cloud.answer("*get-caller-identity*", text, 255)
    said = cloud.run("status", status=1)
    assert message in said and text in said


def test_old_cli(cloud):
    cloud.answer("--version", "aws-cli/1.16.300 Python/2.7")
    assert "this is version 1.16 of the AWS CLI, and 2.4" in cloud.run("up", "--yes", status=1)


def test_network(cloud):
    ec2 = cloud.client("ec2")
    assert "us-east-1 has no instances of the type z9.huge" in cloud.run("up", "--yes", HERE, "WebInstanceType=z9.huge", status=1)
    cloud.answer("*describe-vpcs*", "None")
    assert "create-default-vpc" in cloud.run("up", "--yes", HERE, status=1)
    assert ec2.describe_vpcs()["Vpcs"]


def test_only_subnets_with_a_route_are_taken_by_default(cloud):
    ec2 = cloud.client("ec2")
    default = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = {subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]}
    private = ec2.create_subnet(VpcId=default, CidrBlock="172.31.200.0/24", AvailabilityZone="us-east-1a")["Subnet"]["SubnetId"]
    said = cloud.run("up", "--dry-run", HERE, f"VpcId={default}")
    # Not every zone has the type.
    assert set(re.search(r"SubnetIds=(\S+)", said)[1].split(",")) < subnets and private not in said
    other = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    inside = ec2.create_subnet(VpcId=other, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    assert f"{other} is not the default VPC: name those of its subnets" in cloud.run("up", "--dry-run", HERE, f"VpcId={other}", status=1)
    assert f"VpcId={other}" in cloud.run("up", "--dry-run", HERE, f"SubnetIds={inside}")
    # Also where a stack has subnets of the VPC before.
    cloud.answer("*describe-stacks*StackStatus*", "CREATE_COMPLETE")
    cloud.answer("*describe-stacks*Parameters*", f"SubnetIds\t{min(subnets)}\nVpcId\t{default}")
    assert "is not the default VPC" in cloud.run("up", "--dry-run", HERE, f"VpcId={other}", status=1)


def test_arguments(cloud):
    assert "there is no parameter MaxWorker; these are there: Prefix VpcId" in cloud.run("up", "--yes", HERE, "MaxWorker=3", status=1)
    assert "ImageId is set by an option" in cloud.run("up", "--yes", HERE, "ImageId=ami-1", status=1)
    assert "is not made of 2 to 47" in cloud.run("up", "--yes", HERE, "--prefix", "Muster", status=1)
    assert "with a letter first" in cloud.run("up", "--yes", HERE, "--prefix", "1muster", status=1)
    assert "--prefix needs a value" in cloud.run("up", "--prefix", status=1)
    assert "usage: deploy/aws/up" in cloud.run("up", "--no-such", status=2)
    assert "cannot be read" in cloud.run("image", "--yes", "--archive", "/no/file", status=1)
    assert "as scripts/package names it" in cloud.run("image", "--yes", "--archive", "/etc/passwd", status=1)


def test_patterns(cloud):
    assert "Settings=MUSTER_LOG=info,scaler=debug" in cloud.run("up", "--dry-run", HERE, "Settings=MUSTER_LOG=info,scaler=debug A=b")
    assert "Settings=A=b;reboot does not match" in cloud.run("up", "--yes", HERE, "Settings=A=b;reboot", status=1)
    assert "AllowedCidr=here does not match" in cloud.run("up", "--yes", "AllowedCidr=here", status=1)


def test_other_partitions(cloud):
    cloud.answer("*get-caller-identity*", f"{ACCOUNT}\tarn:aws-cn:iam::{ACCOUNT}:root")
    assert "cn-north-1 is not in the partition aws" in cloud.run("up", "--yes", HERE, status=1, AWS_REGION="cn-north-1")


def test_key_of_the_account_for_disks(cloud):
    assert "WARNING" not in cloud.run("up", "--dry-run", HERE)
    cloud.answer("*get-ebs-default-kms-key-id*", "arn:aws:kms:us-east-1:1:key/2")
    said = cloud.run("up", "--dry-run", HERE)
    assert f"until the role {PREFIX}-web may use it" in said and '"Resource": "arn:aws:kms:us-east-1:1:key/2"}' in said


def test_endpoint_of_another_prefix(cloud):
    """A VPC takes one endpoint of SQS with a private DNS name."""
    ec2 = cloud.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    arguments = ("up", "--dry-run", HERE, "WorkerPublicAddress=false")
    said = cloud.run(*arguments)
    assert "MakeSqsEndpoint=true" in said and "RouteTableIds=rtb-" in said
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    made = ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName="com.amazonaws.us-east-1.sqs", VpcEndpointType="Interface", SubnetIds=[subnet], PrivateDnsEnabled=True)
    identifier = made["VpcEndpoint"]["VpcEndpointId"]
    said = cloud.run(*arguments)
    assert "MakeSqsEndpoint=false" in said and f"an endpoint of SQS, {identifier}, which is used" in said
    ec2.create_tags(Resources=[identifier], Tags=[{"Key": "muster-prefix", "Value": PREFIX}])
    assert "MakeSqsEndpoint=true" in cloud.run(*arguments)


def test_quota(cloud):
    cloud.answer("*get-service-quota*", "5.0")
    said = cloud.run("up", "--dry-run", HERE)
    assert "(L-1216C47A) allows 1 of 15 workers: raise it at https://us-east-1.console" in said
    cloud.answer("*get-service-quota*", "2.0")
    said = cloud.run("up", "--dry-run", HERE, status=1)
    assert "leaves 0 for workers, and one takes 2: raise it at" in said


@pytest.mark.parametrize("reply, status", [("y", 0), ("n", 1)])
def test_question(cloud, reply, status):
    """In a terminal."""
    terminal, side = pty.openpty()
    os.write(terminal, f"{reply}\n".encode())
    done = subprocess.run([DEPLOY / "down"], env=cloud.environment, text=True, stdin=side, capture_output=True, timeout=60)
    os.close(terminal)
    os.close(side)
    assert done.returncode == status and "Remove all of it? [y/N]" in done.stderr
    assert ("log groups, images. Nothing else was looked for." in done.stdout, "nothing was done" in done.stderr) == (reply == "y", reply == "n")


def test_alarms(cloud):
    assert "No alarm is made. AlarmEmail=you@example.com makes them, one about the bill included." in cloud.run("up", "--dry-run", HERE)
    said = cloud.run("up", "--dry-run", HERE, "AlarmEmail=me@example.com")
    assert "AWS mails to me@example.com: follow the link in that mail to get the alarms, one about the bill included." in said


def test_address(cloud):
    said = cloud.run("up", "--dry-run", status=1, MUSTER_ADDRESS_SERVICE="http://127.0.0.1:1")
    assert "public address was not found: name who may reach the gateway" in said


def test_bucket_exists(cloud):
    cloud.client("s3").create_bucket(Bucket=f"{PREFIX}-out-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    said = cloud.run("up", "--yes", HERE, status=1)
    assert f"a bucket {PREFIX}-out-bucket exists already. It is in eu-west-1: AWS_REGION=eu-west-1 deploy/aws/down" in said


def put_bucket(cloud, name, region, tagged):
    s3 = cloud.client("s3")
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=name, **place)
    if tagged:
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "muster-prefix", "Value": PREFIX}]})
    s3.put_object(Bucket=name, Key="photo.jpg", Body=b"1")


def test_photos_of_another_region_or_owner_stay(cloud):
    """The names of buckets lack the region, and the CLI follows S3 to where a bucket is."""
    put_bucket(cloud, f"{PREFIX}-in-bucket", "eu-west-1", tagged=True)
    put_bucket(cloud, f"{PREFIX}-out-bucket", "us-east-1", tagged=False)
    put_bucket(cloud, f"{PREFIX}-scaler-bucket", "us-east-1", tagged=True)
    said = cloud.run("down", "--yes")
    assert f"The bucket {PREFIX}-in-bucket is in eu-west-1: AWS_REGION=eu-west-1 deploy/aws/down --prefix {PREFIX} removes" in said
    assert f"The bucket {PREFIX}-out-bucket lacks the tag muster-prefix={PREFIX}: aws s3 rb --force s3://" in said
    assert f"buckets, with all photos and results: {PREFIX}-scaler-bucket\n" in said
    for name in ("in", "out"):
        assert cloud.client("s3").list_objects_v2(Bucket=f"{PREFIX}-{name}-bucket")["KeyCount"] == 1
    cloud.run("down", "--yes", AWS_REGION="eu-west-1")
    assert f"a bucket {PREFIX}-out-bucket exists already. It lacks the tag" in cloud.run("up", "--yes", HERE, status=1)
    left = {bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]}
    assert {f"{PREFIX}-in-bucket", f"{PREFIX}-out-bucket", f"{PREFIX}-scaler-bucket"} & left == {f"{PREFIX}-out-bucket"}


def test_a_bake_takes_no_bucket_of_others(cloud, archive):
    put_bucket(cloud, f"{PREFIX}-release-bucket", "us-east-1", tagged=False)
    said = cloud.run("image", "--yes", "--archive", str(archive), status=1)
    assert f"a bucket {PREFIX}-release-bucket exists already. It lacks the tag" in said and cloud.instances() == []
    assert cloud.client("s3").list_objects_v2(Bucket=f"{PREFIX}-release-bucket")["KeyCount"] == 1


def test_free_plan(cloud):
    cloud.answer("*get-account-plan-state*", "FREE")
    said = cloud.run("up", "--yes", HERE, status=1)
    refused, advice = re.search(r"free plan, which refuses (.*): say (.*), or upgrade", said).groups()
    assert set(refused.split(", ")) == {"c7i.large", "m7i.large", "c6i.large"}
    cloud.run("up", "--dry-run", HERE, *advice.split())


def test_a_budget_watches_the_bill_where_cloudwatch_cannot(cloud):
    def budgets():
        client = cloud.client("budgets")
        found = client.describe_budgets(AccountId=ACCOUNT).get("Budgets", [])
        return [(budget["BudgetName"], float(budget["BudgetLimit"]["Amount"]),
                 [item["Notification"]["Threshold"] if "Notification" in item else item["Threshold"] for item in
                  client.describe_notifications_for_budget(AccountId=ACCOUNT, BudgetName=budget["BudgetName"])["Notifications"]])
                for budget in found]

    def up(*arguments):
        said = cloud.run("up", "--yes", HERE, "--image", "ami-00000000000000001", *arguments, status=1, AWS_REGION="eu-west-1",
                         MUSTER_READY_SECONDS="0", MUSTER_ADDRESS_SERVICE="http://127.0.0.1:1")
        assert "nothing answers" in said
        return said

    up("AlarmEmail=me@example.com")
    assert budgets() == [(f"{PREFIX}-bill", 50, [100])]
    up("AlarmEmail=you@example.com", "AlarmDollars=20")
    assert budgets() == [(f"{PREFIX}-bill", 20, [100])]
    cloud.run("down", "--yes")
    assert len(budgets()) == 1, "another region's is gone"
    cloud.run("down", "--yes", AWS_REGION="eu-west-1")
    assert budgets() == []
    cloud.answer("*create-budget*", "An error occurred (AccessDeniedException) when calling it", 255)
    assert "There is no alarm about the bill." in up("AlarmEmail=me@example.com")


def test_bucket_of_another_account(cloud):
    cloud.answer("*head-bucket*scaler-bucket*", "An error occurred (403) when calling the HeadBucket operation: Forbidden", 255)
    said = cloud.run("up", "--dry-run", HERE, status=1)
    assert f"S3 does not say that the name {PREFIX}-scaler-bucket is free" in said and "(403)" in said and "another --prefix" in said


def test_more_keys_than_cloudformation_takes(cloud, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text("#" * 3072)
    assert "ApiKeys" not in cloud.run("up", "--dry-run", HERE, "--api-keys", str(keys))
    keys.write_text("#" * 3073)
    assert f"{keys} has more than 3,072 bytes" in cloud.run("up", "--dry-run", HERE, "--api-keys", str(keys), status=1)


def test_parameters_of_another_template_are_dropped(cloud):
    """CloudFormation refuses an update with a parameter that the template does not have."""
    cloud.answer("*describe-stacks*StackStatus*", "CREATE_COMPLETE")
    cloud.answer("*describe-stacks*Parameters*", "ImageId\tami-00000000000000001\nGone\tvalue\nMaxWorkers\t4")
    sent = cloud.folder / "parameters"
    kept = (cloud.shims / "aws").read_text().split("\n", 1)[1]
    cloud.shim("aws", f"""
        case "$*" in *update-stack*)
            for word; do case "$word" in file://*parameters.json) cp "${{word#file://}}" {sent} ;; esac; done
            echo "An error occurred (ValidationError) when calling it" >&2; exit 255 ;;
        esac
        {kept}""")
    cloud.run("up", "--yes", HERE, status=1)
    parameters = {parameter["ParameterKey"]: parameter for parameter in json.loads(sent.read_text())}
    assert "Gone" not in parameters and parameters["MaxWorkers"] == {"ParameterKey": "MaxWorkers", "UsePreviousValue": True}


@pytest.mark.parametrize("state, message", [("ROLLBACK_COMPLETE", "run deploy/aws/down --keep-images, then this again"),
                                            ("UPDATE_IN_PROGRESS", "AWS is changing the stack"),
                                            ("UPDATE_ROLLBACK_FAILED", "aws cloudformation continue-update-rollback")])
def test_stack_state(cloud, state, message):
    cloud.answer("*describe-stacks*StackStatus*", state)
    cloud.answer("*describe-stacks*Parameters*", "")
    assert message in cloud.run("up", "--yes", HERE, status=1)


def test_a_stack_that_changes_is_not_removed(cloud):
    cloud.answer("*describe-stacks*StackStatus*", "a warning\nUPDATE_IN_PROGRESS")
    cloud.answer("*describe-stacks*Parameters*", "")
    put_bucket(cloud, f"{PREFIX}-in-bucket", "us-east-1", tagged=True)
    assert "(UPDATE_IN_PROGRESS), and does not delete it meanwhile" in cloud.run("down", "--yes", status=1)
    assert cloud.client("s3").list_objects_v2(Bucket=f"{PREFIX}-in-bucket")["KeyCount"] == 1


def test_without_a_price_list(cloud):
    said = cloud.run("up", "--dry-run", HERE, AWS_REGION="eu-central-1")
    assert "AWS's price list was not readable (pricing:GetProducts); see https://aws.amazon.com/ec2/pricing" in said and "$" not in \
        said.split("It costs, an hour:")[1].split("AWS's price list")[0]
    assert "Prices of us-east-1, dated 2025-06" in cloud.run("up", "--dry-run", HERE)


def listed(*dollars):
    """The price list's products, as `--output text` prints them: one that costs nothing, as reserved capacity does, then these."""
    def product(price):
        terms = {"OnDemand": {"SKU.JRTC": {"priceDimensions": {"SKU.JRTC.6YS6": {
            "unit": "Hrs", "beginRange": "0", "pricePerUnit": {"USD": price}}}, "sku": "SKU"}}}
        reserved = {"Reserved": {"SKU.38NP": {"priceDimensions": {"SKU.38NP.6YS6": {"pricePerUnit": {"USD": "9.0"}}}}}}
        terms = {**reserved, **terms} if float(price) else {**terms, **reserved}
        return json.dumps({"terms": terms, "product": {"attributes": {"marketoption": "OnDemand"}}}, separators=(",", ":"))
    return "\t".join(product(price) for price in ("0.0000000000", *dollars)).replace('"', '\\"')


def test_prices_of_any_region_are_those_of_the_price_list(cloud):
    for pattern, dollars in (("instanceType,Value=t3.small*", "0.0240000000"), ("instanceType,Value=c7i.large*", "0.1015000000"),
                             ("volumeApiName,Value=gp3*EBS:VolumeUsage.gp3*", "0.0952000000"),
                             ("group,Value=VPCPublicIPv4Address*PublicIPv4:InUseAddress*", "0.0050000000")):
        cloud.answer(f"pricing*regionCode,Value=eu-central-1*{pattern}", listed(dollars))
    cloud.answer("*describe-spot-price-history*c7i.large*", "0.0455\n0.0400")
    arguments = ("up", "--dry-run", HERE, "WorkerInstanceTypes=c7i.large")
    # Where a comma is the decimal sign, too.
    said = cloud.run(*arguments, AWS_REGION="eu-central-1", LC_ALL="de_DE.UTF-8")
    disk = 8 * 0.0952 / 730
    assert f"${0.024 + 0.005 + disk:.4f}\n" in said and f"${0.1015 + 0.005 + disk:.4f}\n" in said, said
    assert "Prices of eu-central-1, by AWS's price list" in said and "WorkerPrices=c7i.large=0.1015\n" in said
    said = cloud.run(*arguments, "Market=spot", AWS_REGION="eu-central-1")
    assert re.search(rf"c7i.large, spot\) +\${0.0455 + 0.005 + disk:.4f}\n", said), said


@pytest.mark.parametrize("console, cause", [
    ("muster-image: failed: sha256sum --check", "because the installation failed"),
    ("still installing", "because it is not done after 1 s")])
def test_failed_bake(cloud, archive, console, cause):
    cloud.console.write_text(console + "\n")
    said = cloud.run("image", "--yes", "--archive", str(archive), status=1, MUSTER_BAKE_SECONDS="1")
    assert cause in said and console in said
    assert cloud.instances() == [], "the instance that baked runs on"
    assert "Contents" not in cloud.client("s3").list_objects_v2(Bucket=f"{PREFIX}-release-bucket")
    assert not cloud.client("ec2").describe_images(Owners=["self"])["Images"]


def test_wrong_certificate(cloud, archive, tmp_path):
    """Nothing that the console does not confirm gets the key."""
    folder = tmp_path / "impostor"
    folder.mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    port = free_port()
    server = subprocess.Popen(["openssl", "s_server", "-quiet", "-www", "-accept", str(port), "-cert", folder / "cert.pem", "-key",
                               folder / "key.pem"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cloud.gateway.write_text(str(port))
    try:
        until(lambda: is_open(port), what="the impostor")
        said = cloud.run("up", "--yes", HERE, "--image", "ami-00000000000000001", status=1, MUSTER_READY_SECONDS="2")
    finally:
        server.terminate()
        server.wait()
    assert "something else answers there" in said
    assert not (cloud.home / ".config" / "muster" / f"{PREFIX}.pem").exists()


def test_nothing_answers(cloud):
    said = cloud.run("up", "--yes", HERE, "--image", "ami-00000000000000001", status=1, MUSTER_READY_SECONDS="1",
                     MUSTER_ADDRESS_SERVICE="http://127.0.0.1:1")
    assert "nothing answers at https://" in said and "203.0.113.7/32 may reach it" in said and "get-console-output" in said


def test_failed_update_keeps_the_key(cloud):
    arguments = ("up", "--yes", HERE, "--image", "ami-00000000000000001")
    cloud.run(*arguments, status=1, MUSTER_READY_SECONDS="0")
    key = cloud.home / ".config" / "muster" / f"{PREFIX}.key"
    first = key.read_text()
    cloud.answer("*update-stack*", "An error occurred (ValidationError) when calling it", 255, once=True)
    assert "ValidationError" in cloud.run(*arguments, "--new-key", status=1)
    assert key.read_text() == first
    assert "nothing answers" in cloud.run(*arguments, "--new-key", status=1, MUSTER_READY_SECONDS="0")
    assert key.read_text() != first and key.stat().st_mode & 0o777 == 0o600
