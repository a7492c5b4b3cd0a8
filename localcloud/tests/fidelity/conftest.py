"""Runs the same tests against localcloud and moto's server. Started by scripts/fidelity.

Every assertion states what AWS does. A test that differences.py lists for a target must fail there: a difference that no
longer occurs fails the run as well.
"""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from differences import DIFFERENCES

ENVIRONMENT = Path(sys.prefix)
REGION = "us-east-1"
# moto has this image, and localcloud's configuration defines one with the same identifier.
IMAGE = "ami-12c6146b"
# The exceptions of a test whose target replies differently from AWS. A missing server is no known difference.
REPLY_DIFFERS = (AssertionError, KeyError, ClientError, ResponseParserError, pytest.fail.Exception)
CLOUD = f"""
[[image]]
id = "{IMAGE}"
name = "sleeper"
command = ["sh", "-c", "echo hello from the instance; exec sleep 1000"]
"""


def pytest_addoption(parser):
    parser.addoption("--target", choices=["localcloud", "moto"], required=True)
    parser.addoption("--localcloud", metavar="PROGRAM", help="the binary")


def pytest_configure(config):
    # The user's own account must not leak in.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull,
                      AWS_EC2_METADATA_DISABLED="true")


def pytest_collection_modifyitems(config, items):
    target = config.getoption("--target")
    listed = dict(DIFFERENCES[target])
    for item in items:
        name = f"{item.path.name}::{item.name}"
        # A test that runs in several protocols is listed once for all of them.
        reason = listed.pop(name, None) or DIFFERENCES[target].get(name.partition("[")[0])
        listed.pop(name.partition("[")[0], None)
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True, raises=REPLY_DIFFERS))
    chose = config.getoption("keyword") or any("::" in argument or argument.endswith(".py") for argument in config.args)
    if listed and not chose:
        raise pytest.UsageError(f"differences.py lists tests that do not exist: {sorted(listed)}")


class Target:
    def __init__(self, name, endpoint):
        self.name = name
        self.endpoint = endpoint

    def client(self, service, key="test", secret="test", **config):
        session = boto3.session.Session()
        return session.client(
            service, region_name=REGION, endpoint_url=self.endpoint, aws_access_key_id=key,
            aws_secret_access_key=secret, config=Config(retries={"max_attempts": 0}, **config))

    def query_client(self):
        """Returns an SQS client of the query protocol, as clients before 2023 are."""
        session = boto3.session.Session()
        session._loader.search_paths.insert(0, str(ENVIRONMENT / "query-models"))
        client = session.client(
            "sqs", region_name=REGION, endpoint_url=self.endpoint, aws_access_key_id="test",
            aws_secret_access_key="test", config=Config(retries={"max_attempts": 0}))
        assert client.meta.service_model.metadata["protocol"] == "query"
        return client

    def cli(self, *arguments, check=True):
        """Runs the AWS CLI. Returns its exit status and output."""
        environment = dict(os.environ, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
                           AWS_DEFAULT_REGION=REGION, AWS_PAGER="")
        # Version 1 of the CLI does not take SQS's endpoint from AWS_ENDPOINT_URL.
        command = [sys.executable, ENVIRONMENT / "bin" / "aws", "--endpoint-url", self.endpoint, *arguments]
        done = subprocess.run(command, env=environment, text=True, capture_output=True)
        assert not check or done.returncode == 0, done.stderr
        return done


@pytest.fixture(scope="session")
def target(request, tmp_path_factory):
    name = request.config.getoption("--target")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp(name)
    if name == "localcloud":
        (folder / "cloud.toml").write_text(CLOUD)
        command = [request.config.getoption("--localcloud"), "--listen", f"127.0.0.1:{port}", "--stop-grace", "1",
                   "--config", folder / "cloud.toml", "--data", folder / "data"]
    else:
        command = [sys.executable, ENVIRONMENT / "bin" / "moto_server", "--host", "127.0.0.1", "--port", str(port)]
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_open(process, port, folder / "log")
        yield Target(name, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def wait_until_open(process, port, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


@pytest.fixture
def only_localcloud(target):
    if target.name != "localcloud":
        pytest.skip("an extension of localcloud")


@pytest.fixture(params=["json", "query"])
def sqs(target, request):
    """A client of SQS, in the protocol of today and in that of old."""
    return target.client("sqs") if request.param == "json" else target.query_client()


@pytest.fixture
def sqs_today(target):
    return target.client("sqs")


@pytest.fixture
def s3(target):
    return target.client("s3")


@pytest.fixture
def ec2(target):
    return target.client("ec2")


@pytest.fixture(params=["json", "query"])
def cloudwatch(target, request):
    """A client of CloudWatch, in the protocol of today and in that of old."""
    if request.param == "json":
        return target.client("cloudwatch")
    session = boto3.session.Session()
    loader = session._session.get_component("data_loader")
    model = loader.load_service_model("cloudwatch", "service-2")
    old = dict(model, metadata=dict(model["metadata"], protocol="query", protocols=["query"]))
    old["metadata"].pop("awsQueryCompatible", None)
    load = loader.load_service_model
    loader.load_service_model = lambda service, kind, *rest, **named: (
        old if (service, kind) == ("cloudwatch", "service-2") else load(service, kind, *rest, **named))
    return session.client("cloudwatch", region_name=REGION, endpoint_url=target.endpoint,
                          aws_access_key_id="test", aws_secret_access_key="test")


@pytest.fixture
def name():
    """A name that no other test has."""
    return f"n-{uuid.uuid4().hex[:16]}"


@pytest.fixture
def queue(sqs, name):
    """Creates a queue and returns its URL."""
    return queue_maker(sqs, name)


@pytest.fixture
def queue_today(sqs_today, name):
    return queue_maker(sqs_today, name)


def queue_maker(sqs, name):
    numbers = itertools.count()

    def make(**attributes):
        attributes = {key: str(value) for key, value in attributes.items()}
        return sqs.create_queue(QueueName=f"{name}-{next(numbers)}", Attributes=attributes)["QueueUrl"]

    return make


@pytest.fixture
def bucket(s3, name):
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def launch(ec2):
    """Launches instances that run, and terminates them at the end."""
    launched = []

    def run(count=1, wait=True, **arguments):
        launch = ec2.run_instances(ImageId=IMAGE, MinCount=count, MaxCount=count, **arguments)
        ids = [instance["InstanceId"] for instance in launch["Instances"]]
        launched.extend(ids)
        if wait:
            in_state(ec2, ids, "running")
        return ids

    yield run
    if launched:
        with contextlib.suppress(ClientError):
            ec2.terminate_instances(InstanceIds=launched)


def instances_of(description):
    return [instance for reservation in description["Reservations"] for instance in reservation["Instances"]]


def in_state(ec2, ids, state):
    """Waits until the instances are in a state."""
    eventually(lambda: all(
        instance["State"]["Name"] == state for instance in instances_of(ec2.describe_instances(InstanceIds=ids))))


def eventually(condition, seconds=30):
    """Polls until the condition is true, and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


@contextlib.contextmanager
def refused(code, status=None):
    """Expects a call to fail with AWS's code, or one of several, and HTTP status."""
    with pytest.raises(ClientError) as caught:
        yield caught
    response = caught.value.response
    assert response["Error"]["Code"] in ([code] if isinstance(code, str) else code), response["Error"]
    if status:
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status


def attribute(sqs, url, name):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]


def receive(sqs, url, **arguments):
    return sqs.receive_message(QueueUrl=url, **arguments).get("Messages", [])
