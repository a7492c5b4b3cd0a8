"""Errors name the cause and what to do next."""

import subprocess

import pytest
from conftest import ACCOUNT, free_port, is_open, until

HERE = "AllowedCidr=203.0.113.7/32"
PREFIX = f"muster-{ACCOUNT}"


def answer(cloud, pattern, text, status=0):
    """Makes `aws` reply to calls of this pattern with a text."""
    shim = cloud.shims / "aws"
    kept = shim.read_text().split("\n", 1)[1]
    where = ">&2" if status else ""
    cloud.shim("aws", f'case "$*" in {pattern}) printf \'%s\\n\' "{text}" {where}; exit {status} ;; esac\n{kept}')


def test_credentials(cloud):
    said = cloud.run("up", "--yes", status=1, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_CONFIG_FILE="/dev/null",
                     AWS_SHARED_CREDENTIALS_FILE="/dev/null")
    assert "There are no valid credentials: run 'aws configure'" in said


def test_region(cloud):
    assert "set AWS_REGION" in cloud.run("up", "--yes", status=1, AWS_REGION="", AWS_CONFIG_FILE="/dev/null")


@pytest.mark.parametrize("text, message", [
    ("An error occurred (ExpiredToken) when calling it", "The credentials have expired"),
    ("An error occurred (AccessDenied) when calling it: not authorized", "use one with more permissions"),
])
def test_first_call(cloud, text, message):
    answer(cloud, "*get-caller-identity*", text, 255)
    said = cloud.run("status", status=1)
    assert message in said and text in said


def test_old_cli(cloud):
    answer(cloud, "--version", "aws-cli/1.16.300 Python/2.7")
    assert "this is version 1.16 of the AWS CLI, and 2.4" in cloud.run("up", "--yes", status=1)


def test_network(cloud):
    ec2 = cloud.client("ec2")
    assert "us-east-1 has no instances of the type z9.huge" in cloud.run("up", "--yes", HERE, "WebInstanceType=z9.huge", status=1)
    answer(cloud, "*describe-vpcs*", "None")
    assert "create-default-vpc" in cloud.run("up", "--yes", HERE, status=1)
    assert ec2.describe_vpcs()["Vpcs"]


def test_arguments(cloud):
    assert "there is no parameter MaxWorker; these are there: Prefix VpcId" in cloud.run("up", "--yes", HERE, "MaxWorker=3", status=1)
    assert "ImageId is set by an option" in cloud.run("up", "--yes", HERE, "ImageId=ami-1", status=1)
    assert "is not made of 2 to 47" in cloud.run("up", "--yes", HERE, "--prefix", "Muster", status=1)
    assert "--prefix needs a value" in cloud.run("up", "--prefix", status=1)
    assert "usage: deploy/aws/up" in cloud.run("up", "--no-such", status=2)
    assert "cannot be read" in cloud.run("image", "--yes", "--archive", "/no/file", status=1)
    assert "as scripts/package names it" in cloud.run("image", "--yes", "--archive", "/etc/passwd", status=1)


def test_quota(cloud):
    answer(cloud, "*get-service-quota*", "5.0")
    said = cloud.run("up", "--dry-run", HERE)
    assert "(L-1216C47A) allows 1 of 15 workers: raise it at https://us-east-1.console" in said
    answer(cloud, "*get-service-quota*", "2.0")
    said = cloud.run("up", "--dry-run", HERE, status=1)
    assert "leaves 0 for workers, and one takes 2: raise it at" in said


def test_address(cloud):
    said = cloud.run("up", "--dry-run", status=1, MUSTER_ADDRESS_SERVICE="http://127.0.0.1:1")
    assert "public address was not found: name who may reach the gateway" in said


def test_bucket_exists(cloud):
    cloud.client("s3").create_bucket(Bucket=f"{PREFIX}-out-bucket")
    assert f"a bucket {PREFIX}-out-bucket exists already" in cloud.run("up", "--yes", HERE, status=1)


@pytest.mark.parametrize("state, message", [("ROLLBACK_COMPLETE", "run deploy/aws/down, then this again"),
                                            ("UPDATE_IN_PROGRESS", "AWS is changing the stack")])
def test_stack_state(cloud, state, message):
    answer(cloud, "*describe-stacks*StackStatus*", state)
    answer(cloud, "*describe-stacks*Parameters*", "")
    assert message in cloud.run("up", "--yes", HERE, status=1)


def test_other_regions_have_no_prices(cloud):
    said = cloud.run("up", "--dry-run", HERE, AWS_REGION="eu-central-1")
    assert "The prices of eu-central-1 are not known here; see https://aws.amazon.com/ec2/pricing" in said and "$" not in \
        said.split("It costs, an hour:")[1].split("The prices")[0]


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
