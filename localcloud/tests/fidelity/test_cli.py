"""The AWS CLI."""

import json

import requests


def printed(target, *arguments):
    return json.loads(target.cli(*arguments, "--output", "json").stdout or "null")


def test_s3_copies_lists_syncs_and_removes(target, name, tmp_path):
    target.cli("s3", "mb", f"s3://{name}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "folder" / "b.txt").write_text("b")
    target.cli("s3", "sync", str(tmp_path), f"s3://{name}/in")
    listed = target.cli("s3", "ls", "--recursive", f"s3://{name}").stdout
    assert [line.split()[-1] for line in listed.splitlines()] == ["in/a.txt", "in/folder/b.txt"]
    assert target.cli("s3", "cp", f"s3://{name}/in/a.txt", "-").stdout == "a"
    target.cli("s3", "mv", f"s3://{name}/in/a.txt", f"s3://{name}/c.txt")
    assert "PRE in/" in target.cli("s3", "ls", f"s3://{name}").stdout
    assert target.cli("s3", "rb", f"s3://{name}", check=False).returncode != 0
    target.cli("s3", "rm", "--recursive", f"s3://{name}")
    target.cli("s3", "rb", f"s3://{name}")


def test_s3_copies_large_files_in_parts(target, name, tmp_path):
    target.cli("s3", "mb", f"s3://{name}")
    large = bytes(range(256)) * 4096 * 9
    (tmp_path / "large").write_bytes(large)
    target.cli("s3", "cp", str(tmp_path / "large"), f"s3://{name}/large")
    target.cli("s3", "cp", f"s3://{name}/large", str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == large


def test_s3_presigns(target, name, tmp_path):
    target.cli("s3", "mb", f"s3://{name}")
    (tmp_path / "a.txt").write_text("a")
    target.cli("s3", "cp", str(tmp_path / "a.txt"), f"s3://{name}/a.txt")
    url = target.cli("s3", "presign", f"s3://{name}/a.txt", "--expires-in", "600").stdout.strip()
    assert requests.get(url).text == "a"


def test_sqs_sends_receives_and_deletes(target, name):
    url = printed(target, "sqs", "create-queue", "--queue-name", name)["QueueUrl"]
    target.cli("sqs", "send-message", "--queue-url", url, "--message-body", "hello")
    message, = printed(target, "sqs", "receive-message", "--queue-url", url)["Messages"]
    assert message["Body"] == "hello"
    target.cli("sqs", "delete-message", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"])
    attributes = printed(target, "sqs", "get-queue-attributes", "--queue-url", url, "--attribute-names", "All")
    assert attributes["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"
    failed = target.cli("sqs", "get-queue-url", "--queue-name", f"{name}-absent", check=False)
    assert "AWS.SimpleQueueService.NonExistentQueue" in failed.stderr


def test_ec2_runs_waits_and_terminates(target, name):
    instance = target.cli(
        "ec2", "run-instances", "--image-id", "ami-12c6146b", "--tag-specifications",
        f"ResourceType=instance,Tags=[{{Key=Name,Value={name}}}]", "--query", "Instances[0].InstanceId",
        "--output", "text").stdout.strip()
    target.cli("ec2", "wait", "instance-running", "--instance-ids", instance)
    found = target.cli(
        "ec2", "describe-instances", "--filters", f"Name=tag:Name,Values={name}", "Name=instance-state-name,Values=running",
        "--query", "Reservations[].Instances[].InstanceId", "--output", "text").stdout.strip()
    assert found == instance
    changed = printed(target, "ec2", "terminate-instances", "--instance-ids", instance)["TerminatingInstances"]
    assert changed[0]["CurrentState"]["Name"] == "shutting-down"
