"""Baking, and which image a stack gets."""

import hashlib
import subprocess

import pytest
from conftest import ACCOUNT, meanwhile, until
from test_cycle import bake
from test_errors import HERE


def test_bakes_on_the_first_worker_type_where_ec2_offers_it(cloud, archive):
    cloud.answer("*describe-instance-type-offerings*m7i.large*", "us-east-1c")
    cloud.run("up", "--yes", HERE, "--archive", str(archive), "WorkerInstanceTypes=m7i.large,c7i.large", status=1, MUSTER_BAKE_SECONDS="0")
    [instance] = cloud.instances(states=["terminated"], Name="muster-image")
    assert (instance["InstanceType"], instance["Placement"]["AvailabilityZone"]) == ("m7i.large", "us-east-1c")


def test_no_subnet_has_the_type(cloud, archive):
    cloud.answer("*describe-instance-type-offerings*c7i.large*", "us-east-1x")
    said = cloud.run("up", "--yes", HERE, "--archive", str(archive), status=1)
    assert "EC2 offers c7i.large in none of the subnets" in said


def test_a_failed_look_at_the_instance_does_not_end_the_bake(cloud, archive):
    cloud.answer("*describe-instances*--instance-ids*", "An error occurred (InvalidInstanceID.NotFound)", 255, once=True)
    with meanwhile(lambda: bake(cloud, archive)):
        cloud.run("image", "--yes", "--archive", str(archive))
    assert cloud.out.startswith("ami-")


def test_a_pending_image_is_taken_up_again(cloud, archive):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    cloud.answer("*describe-images*muster-archive*", f"ami-1\tpending\t1.2.3\tnative\t{digest}\t/dev/xvda\tsnap-1")
    cloud.answer("*create-tags*--resources*snap-1*", "")
    cloud.answer("*describe-images*.State", "available")
    cloud.answer("*describe-images*.State", "pending", once=True)
    cloud.run("image", "--yes", "--archive", str(archive))
    assert cloud.out == "ami-1\n" and cloud.instances() == []


def test_addresses_of_the_release_name_the_region(cloud, archive):
    """Version 1 of the CLI would sign for the global endpoint, which redirects."""
    addresses = cloud.folder / "addresses"
    kept = (cloud.shims / "aws").read_text().split("\n", 1)[1]
    cloud.shim("aws", f'case "$*" in *presign*) {cloud.cli} "$@" | tee {addresses}; exit ;; esac\n{kept}')
    cloud.run("image", "--yes", "--archive", str(archive), status=1, AWS_REGION="eu-west-1", MUSTER_BAKE_SECONDS="0")
    address = addresses.read_text()
    assert address.startswith(f"https://muster-{ACCOUNT}-release-bucket.s3.eu-west-1.amazonaws.com/"), address
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in address


def test_without_logs(cloud, archive):
    said = cloud.run("image", "--yes", "--without-logs", "--archive", str(archive), status=1, MUSTER_BAKE_SECONDS="0")
    [instance] = cloud.instances(states=["terminated"], Name="muster-image")
    script = cloud.user_data(instance["InstanceId"])
    assert "./install --role both  --photo /root/photo" in script and "cloudwatch" not in script, said
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_security_group(cloud, archive):
    """Some accounts have the default one emptied, so that nothing could be installed."""
    group = cloud.client("ec2").create_security_group(GroupName="out", Description="out")["GroupId"]

    def look():
        [instance] = until(lambda: cloud.instances(states=["running"], Name="muster-image"), what="the instance that bakes")
        assert [item["GroupId"] for item in instance["NetworkInterfaces"][0]["Groups"]] == [group]
        bake(cloud, archive)

    with meanwhile(look):
        cloud.run("image", "--yes", "--security-group", group, "--archive", str(archive))


def test_without_sample_photos(cloud, archive, clone):
    said = cloud.run(clone / "deploy" / "aws" / "image", "--dry-run", "--archive", str(archive))
    assert "An image of muster-1.2.3" in said and "There is no sample photo" in said


def test_the_self_test_has_the_photo_that_packaging_fetches(cloud, archive, clone):
    photos = clone / ".local" / "photos" / "val" / "elton_john"
    (clone / "scripts" / "package").write_text(
        f"#!/bin/sh\nmkdir -p {photos}\nprintf '\\377\\330' >{photos}/1.jpg\necho {archive}\n")
    with meanwhile(lambda: bake(cloud, archive)):
        cloud.run(clone / "deploy" / "aws" / "image", "--yes")
    assert cloud.out.startswith("ami-")


def test_a_dry_run_packages_nothing(cloud, clone):
    packaged = clone / "packaged"
    (clone / "scripts" / "package").write_text(f"#!/bin/sh\n: >{packaged}\n")
    said = cloud.run(clone / "deploy" / "aws" / "image", "--dry-run")
    assert "An image of the release that scripts/package --engine native makes" in said and not packaged.exists()


@pytest.mark.parametrize("glibc, status", [("2.41", 0), ("2.42", 1)])
def test_a_release_that_needs_a_newer_glibc_is_not_baked(cloud, tmp_path, glibc, status):
    release = tmp_path / "muster-1.2.3-x86_64-native"
    (release / "bin").mkdir(parents=True)
    (release / "VERSION").write_text(f"version=1.2.3\nglibc={glibc}\n")
    archive = tmp_path / f"{release.name}.tar.zst"
    subprocess.run(["tar", "--zstd", "--sort=name", "-C", tmp_path, "-cf", archive, release.name], check=True)
    said = cloud.run("image", "--dry-run", "--archive", str(archive), status=status)
    assert ("needs glibc 2.42, and Debian 13 has 2.41" in said) == (status == 1)
    cloud.run("image", "--dry-run", "--archive", str(archive), "--base-image", "ami-00000000000000001")


def test_torch_needs_an_image_with_libtorch(cloud, archive):
    ec2 = cloud.client("ec2")
    instance = ec2.run_instances(ImageId="ami-00000000000000001", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    native, torch = [ec2.create_image(InstanceId=instance, Name=engine, TagSpecifications=[
        {"ResourceType": "image", "Tags": [{"Key": "muster-engine", "Value": engine}]}])["ImageId"] for engine in ("native", "torch")]
    arguments = ("up", "--dry-run", HERE, "Engine=torch")
    assert f"{native} was made for the engine native" in cloud.run(*arguments, "--image", native, status=1)
    assert f"{archive} was made for the engine native" in cloud.run(*arguments, "--archive", str(archive), status=1)
    assert f"It runs the image {torch}." in cloud.run(*arguments, "--image", torch)
    # A stack with the engine native gets another image.
    cloud.answer("*describe-stacks*StackStatus*", "CREATE_COMPLETE")
    cloud.answer("*describe-stacks*Parameters*", f"ImageId\t{native}")
    assert "Its image comes from scripts/package" in cloud.run(*arguments)
    assert f"It runs the image {native}." in cloud.run("up", "--dry-run", HERE)
