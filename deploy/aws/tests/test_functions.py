"""deploy/aws/functions, and scripts/deploy-lambda, which does the same with boto3: the template, and both against moto's server."""

import json
import subprocess
import sys
import zipfile

import pytest
import yaml
from botocore.exceptions import ClientError
from conftest import ACCOUNT, DEPLOY, ENVIRONMENT, REGION, REPOSITORY, Cloud
from test_template import Loader

PREFIX = "muster-functions-test"
ROLES = {"Splitting": "video-splitting", "Recognition": "face-recognition", "Detection": "face-detection"}


@pytest.fixture(scope="module")
def text():
    return subprocess.run([DEPLOY / "functions", "--template"], text=True, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def resources(text):
    return yaml.load(text, Loader)["Resources"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    file = tmp_path_factory.mktemp("package") / "muster-lambda-x86_64.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("bootstrap", "#!/bin/sh\n")
    return file


@pytest.fixture(scope="module")
def cloud(tmp_path_factory, request):
    with Cloud(tmp_path_factory.mktemp("cloud"), request.config.getoption("--cli")).served() as cloud:
        yield cloud


def test_lint(text, tmp_path):
    (tmp_path / "template.yaml").write_text(text)
    done = subprocess.run([ENVIRONMENT / "bin" / "cfn-lint", tmp_path / "template.yaml"], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(text.encode()) < 51200, "larger templates need a bucket"


def test_each_function_has_a_role_of_its_own(resources):
    for name, handler in ROLES.items():
        function, role = resources[name]["Properties"], resources[f"{name}Role"]["Properties"]
        assert function["Role"] == {"GetAtt": f"{name}Role.Arn"}
        assert function["Handler"] == function["FunctionName"] == handler
        policies = {policy["PolicyName"]: policy["PolicyDocument"] for policy in role["Policies"]}
        assert policies == {handler: json.loads((DEPLOY / "iam" / f"{handler}.json").read_text())}
        assert all(statement["Resource"] != "*" for statement in policies[handler]["Statement"])
        assert "logs:CreateLogGroup" not in str(policies), "a log group would come again after --down"


def test_everything_that_can_have_tags_has_the_prefix(resources):
    without = {"AWS::Lambda::Permission", "AWS::Lambda::Url"}
    for name, resource in resources.items():
        if resource["Type"] not in without:
            assert {"Key": "muster-prefix", "Value": {"Ref": "Prefix"}} in resource["Properties"]["Tags"], name


def test_buckets_are_private(resources):
    buckets = {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == "AWS::S3::Bucket"}
    assert sorted(buckets) == ["InputBucket", "OutputBucket", "StageBucket"]
    for bucket in buckets.values():
        assert all(bucket["PublicAccessBlockConfiguration"].values()) and "SSEAlgorithm" in str(bucket["BucketEncryption"])


def test_failed_events_are_kept(resources):
    dead_letters = {"GetAtt": "DeadLetterQueue.Arn"}
    for name in ("Splitting", "Recognition"):
        assert resources[name]["Properties"]["DeadLetterConfig"] == {"TargetArn": dead_letters}
    queue = resources["RequestQueue"]["Properties"]
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": dead_letters, "maxReceiveCount": 5}
    mapping = resources["RecognitionByQueue"]["Properties"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "RequestConcurrency"}}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_only_s3_of_the_account_and_the_url_may_invoke(resources):
    permissions = {name: resource for name, resource in resources.items() if resource["Type"] == "AWS::Lambda::Permission"}
    assert sorted(permissions) == ["DetectionByUrl", "DetectionInvokedByUrl", "SplittingByInput"]
    assert permissions["SplittingByInput"]["Properties"]["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert {permissions[name]["Condition"] for name in ("DetectionByUrl", "DetectionInvokedByUrl")} == {"HasPublicUrl"}


def test_alarms_are_explained(resources):
    alarms = [resource for resource in resources.values() if resource["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(alarms) == 4
    docs = (REPOSITORY / "docs" / "functions.md").read_text()
    for alarm in alarms:
        assert alarm["Condition"] == "HasEmail"
        assert f"| `{alarm['Properties']['AlarmName']['Sub'].replace('${Prefix}', 'PREFIX')}` |" in docs, "what it means"


def test_own_default_prefix(cloud, package):
    """That of deploy/aws/up has a request queue of the same name."""
    assert f"a bucket muster-functions-{ACCOUNT}-functions for" in cloud.run("functions", "--dry-run", "--package", str(package))


def test_up_and_down(cloud, package):
    said = cloud.run("functions", "--dry-run", "--prefix", PREFIX, "--package", str(package))
    assert "would" not in said and "face-recognition" in said
    assert not cloud.client("lambda").list_functions()["Functions"]
    cloud.run("functions", "--yes", "--prefix", PREFIX, "--package", str(package), "ClipMode=timeline")
    # moto has no AWS::Lambda::Url, hence no outputs.
    functions = {function["FunctionName"]: function for function in cloud.client("lambda").list_functions()["Functions"]}
    assert sorted(functions) == sorted(ROLES.values())
    assert functions["video-splitting"]["Environment"]["Variables"]["MUSTER_CLIP_MODE"] == "timeline"
    cloud.client("s3").put_object(Bucket=f"{PREFIX}-output", Key="a.txt", Body=b"a")
    cloud.run("functions", "--down", "--yes", "--prefix", PREFIX)
    assert not cloud.client("lambda").list_functions()["Functions"]
    assert not [bucket for bucket in cloud.client("s3").list_buckets()["Buckets"] if bucket["Name"].startswith(PREFIX)]


def test_down_says_why_it_failed(cloud):
    cloud.answer("*delete-stack*", "")
    cloud.answer("*stack-delete-complete*", "Waiter StackDeleteComplete failed", 255)
    cloud.answer("*describe-stack-events*DELETE_FAILED*", "Input\tThe bucket is not empty")
    try:
        said = cloud.run("functions", "--down", "--yes", "--prefix", PREFIX, status=1)
    finally:
        cloud.reset()
    assert "Input\tThe bucket is not empty" in said and "was not deleted: remove the cause" in said and "is removed" not in said


def deploy(cloud, package, *arguments):
    """Runs scripts/deploy-lambda. Returns what it made."""
    done = subprocess.run([REPOSITORY / "scripts" / "deploy-lambda", "--endpoint-url", cloud.endpoint, "--prefix", "with-boto3",
                           "--package", package, *arguments], text=True, capture_output=True, env={**cloud.environment, "PYTHON": sys.executable})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_with_boto3(cloud, package):
    made = deploy(cloud, package, "--mode", "frames", "--memory", "video-splitting=2048", "--name", "face-recognition=names")
    assert made["functions"] == {handler: f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
                                 for handler, name in (("video-splitting", "video-splitting"), ("face-recognition", "names"))}
    client = cloud.client("lambda")
    splitting = client.get_function_configuration(FunctionName="video-splitting")
    assert splitting["MemorySize"] == 2048
    assert splitting["Environment"]["Variables"]["MUSTER_RECOGNITION_FUNCTION"] == "names"
    policy = cloud.client("iam").get_role_policy(RoleName="with-boto3-video-splitting", PolicyName="video-splitting")["PolicyDocument"]
    assert "function:names" in json.dumps(policy) and "function:face-recognition" not in json.dumps(policy)
    notified = cloud.client("s3").get_bucket_notification_configuration(Bucket="with-boto3-input")["LambdaFunctionConfigurations"]
    assert [it["LambdaFunctionArn"] for it in notified] == [made["functions"]["video-splitting"]]
    # A second run changes what is there, and another shape keeps the settings of the first.
    deploy(cloud, package, "--mode", "frame", "--name", "face-recognition=names")
    stream = deploy(cloud, package, "--mode", "stream", "--name", "face-recognition=names")
    assert stream["url"].startswith("https://")
    assert client.get_function_url_config(FunctionName="face-detection")["AuthType"] == "AWS_IAM"
    groups = cloud.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    assert {"/aws/lambda/video-splitting", "/aws/lambda/names", "/aws/lambda/face-detection"} <= {it["logGroupName"] for it in groups}
    variables = client.get_function_configuration(FunctionName="names")["Environment"]["Variables"]
    assert variables["MUSTER_CLIP_MODE"] == "frame" and variables["MUSTER_RESPONSE_QUEUE"] == stream["queues"]["with-boto3-resp-queue"]
    [mapping] = client.list_event_source_mappings(FunctionName="names")["EventSourceMappings"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"] and mapping["ScalingConfig"] == {"MaximumConcurrency": 5}
    for name in ("video-splitting", "names", "face-detection"):
        client.delete_function(FunctionName=name)
    with pytest.raises(ClientError):
        client.get_function(FunctionName="names")


PUBLIC = """
import json, sys
from video_lib import deploy
endpoint, package = sys.argv[1:]
session = dict(deploy.session_from_environment(endpoint))
print(json.dumps(deploy.deploy(session, "public", package, "stream", public_url=True)))
"""


def test_public_url_and_architecture_of_the_package(cloud, package, tmp_path):
    arm = tmp_path / "muster-lambda-arm64.zip"
    arm.write_bytes(package.read_bytes())
    done = subprocess.run([sys.executable, "-B", "-c", PUBLIC, cloud.endpoint, arm], text=True, capture_output=True,
                          env={**cloud.environment, "PYTHONPATH": str(REPOSITORY / "scripts")})
    assert done.returncode == 0, done.stderr
    client = cloud.client("lambda")
    assert client.get_function_url_config(FunctionName="face-detection")["AuthType"] == "NONE"
    assert client.get_function_configuration(FunctionName="face-detection")["Architectures"] == ["arm64"]
    for name in ("face-recognition", "face-detection"):
        client.delete_function(FunctionName=name)
