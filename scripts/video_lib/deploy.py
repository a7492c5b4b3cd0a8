"""Deploys the functions with boto3, on AWS or on a local cloud: buckets or queues, roles, functions, and what starts them.

Running it again changes what is there. scripts/deploy-lambda is the command.
"""

import json
import os
import platform
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

SPLITTING, RECOGNITION, DETECTION = "video-splitting", "face-recognition", "face-detection"
CLIP_MODES, STREAM = ("frame", "frames", "timeline"), "stream"
POLICIES = Path(__file__).resolve().parents[2] / "deploy" / "aws" / "iam"
# Lambda takes larger packages from a bucket only.
DIRECT_LIMIT = 50 * 2**20
# A new role is known to Lambda after some seconds.
ROLE_SECONDS = 60
# What a local cloud without IAM's roles replies.
NO_ROLES = {"InvalidAction", "NotImplemented", "UnknownOperationException", "501"}


@dataclass(frozen=True)
class Function:
    """A function's settings. 1,769 MB of memory come with one whole vCPU."""

    name: str
    memory_mb: int = 1769
    timeout_s: int = 60
    disk_mb: int = 512


FUNCTIONS = {
    SPLITTING: Function(SPLITTING, timeout_s=300, disk_mb=2048),
    RECOGNITION: Function(RECOGNITION),
    DETECTION: Function(DETECTION, timeout_s=30),
}


def deploy(session, prefix, package, mode="frame", functions=FUNCTIONS, environment=None, public_url=False):
    """Deploys one of the shapes. Returns what was made: {"functions": {handler: ARN}, "buckets": …, "queues": {name: URL}, "url": …}.

    `session` has what boto3.client takes besides the service. `functions` are names, memory and timeouts by handler, `environment`
    further settings of all functions. The stream's URL takes signed requests only, unless `public_url` is set.
    """
    return Deployment(session, prefix, Path(package), functions, environment or {}, public_url).deploy(mode)


class Deployment:
    def __init__(self, session, prefix, package, functions, environment, public_url):
        self.session, self.prefix, self.package = session, prefix, package
        self.functions, self.environment, self.public_url = functions, environment, public_url
        config = Config(retries={"mode": "standard", "max_attempts": 6}, read_timeout=120, s3={"addressing_style": "auto"})
        client = lambda service: boto3.client(service, config=config, **session)
        self.s3, self.sqs, self.iam, self.lambda_ = client("s3"), client("sqs"), client("iam"), client("lambda")
        self.logs = client("logs")
        self.account = client("sts").get_caller_identity()["Account"]
        self.region = self.s3.meta.region_name
        self.made = {"functions": {}, "buckets": [], "queues": {}}
        self.uploaded = None

    def deploy(self, mode):
        if mode not in (*CLIP_MODES, STREAM):
            raise ValueError(f"the mode {mode!r} is none of {', '.join((*CLIP_MODES, STREAM))}")
        dead_letters = self.queue("functions-dead-letter-queue", {"MessageRetentionPeriod": str(14 * 24 * 3600)})
        (self.deploy_stream if mode == STREAM else self.deploy_clips)(mode, self.queue_arn(dead_letters))
        return self.made

    def deploy_clips(self, mode, dead_letters):
        for part in ("input", "stage-1", "output"):
            self.bucket(f"{self.prefix}-{part}")
        self.function(RECOGNITION, {"MUSTER_CLIP_MODE": mode}, dead_letters)
        splitting = self.function(SPLITTING, {
            "MUSTER_CLIP_MODE": mode, "MUSTER_RECOGNITION_FUNCTION": self.functions[RECOGNITION].name}, dead_letters)
        bucket = f"{self.prefix}-input"
        self.permit(SPLITTING, "clips", Principal="s3.amazonaws.com", Action="lambda:InvokeFunction",
                    SourceArn=f"arn:aws:s3:::{bucket}", SourceAccount=self.account)
        notification = {"Id": "clips", "LambdaFunctionArn": splitting, "Events": ["s3:ObjectCreated:*"]}
        self.s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [notification]})

    def deploy_stream(self, _, dead_letters):
        timeout = self.functions[RECOGNITION].timeout_s
        redrive = {"deadLetterTargetArn": dead_letters, "maxReceiveCount": "5"}
        # AWS advises six times the function's timeout.
        requests = self.queue("req-queue", {"VisibilityTimeout": str(6 * timeout), "RedrivePolicy": json.dumps(redrive)})
        responses = self.queue("resp-queue", {})
        self.function(RECOGNITION, {"MUSTER_RESPONSE_QUEUE": responses}, dead_letters)
        self.function(DETECTION, {"MUSTER_REQUEST_QUEUE": requests, "MUSTER_RESPONSE_QUEUE": responses}, None)
        self.map(self.queue_arn(requests), RECOGNITION)
        self.made["url"] = self.url(DETECTION)

    def bucket(self, name):
        # us-east-1 must not be named. AWS blocks public access to new buckets by itself.
        place = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        ignore("BucketAlreadyOwnedByYou", lambda: self.s3.create_bucket(Bucket=name, **place))
        self.made["buckets"].append(name)

    def queue(self, name, attributes):
        name = f"{self.prefix}-{name}"
        try:
            url = self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
            if attributes:
                self.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
        except self.sqs.exceptions.QueueDoesNotExist:
            url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.made["queues"][name] = url
        return url

    def queue_arn(self, url):
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def role(self, handler):
        """Makes the function's role, with the policy of deploy/aws/iam. A cloud without roles takes any ARN."""
        name = f"{self.prefix}-{handler}"
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        tags = [{"Key": "muster-prefix", "Value": self.prefix}]
        policy = (POLICIES / f"{handler}.json").read_text()
        for other, function in self.functions.items():
            policy = policy.replace(f"function:{other}", f"function:{function.name}").replace(
                f"/aws/lambda/{other}", f"/aws/lambda/{function.name}")
        try:
            ignore("EntityAlreadyExists", lambda: self.iam.create_role(
                RoleName=name, AssumeRolePolicyDocument=json.dumps(trust), Tags=tags, Description="A function of Muster"))
            self.iam.put_role_policy(RoleName=name, PolicyName=handler, PolicyDocument=policy)
            return self.iam.get_role(RoleName=name)["Role"]["Arn"]
        except ClientError as error:
            if error.response["Error"]["Code"] not in NO_ROLES:
                raise
            return f"arn:aws:iam::{self.account}:role/{name}"

    def function(self, handler, variables, dead_letters):
        """Makes or changes a function. It keeps the variables of another shape, so that both can use it."""
        settings = self.functions[handler]
        present = self.present(settings.name)
        variables = {**present.get("Environment", {}).get("Variables", {}), **self.environment, **variables}
        configuration = {
            "FunctionName": settings.name, "Role": self.role(handler), "Handler": handler, "Runtime": "provided.al2023",
            "MemorySize": settings.memory_mb, "Timeout": settings.timeout_s, "EphemeralStorage": {"Size": settings.disk_mb},
            "Environment": {"Variables": variables}, "LoggingConfig": {"LogFormat": "JSON"},
            **({"DeadLetterConfig": {"TargetArn": dead_letters}} if dead_letters else {}),
        }
        named = re.search(r"-(x86_64|arm64)\.zip$", self.package.name)
        architecture = named[1] if named else {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
        # The role may not make the log group: it would come again after it was removed.
        ignore("ResourceAlreadyExistsException", lambda: self.logs.create_log_group(logGroupName=f"/aws/lambda/{settings.name}"))
        if present:
            self.lambda_.update_function_code(FunctionName=settings.name, Architectures=[architecture], **self.code("update"))
            self.lambda_.get_waiter("function_updated_v2").wait(FunctionName=settings.name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
            made = self.lambda_.update_function_configuration(**configuration)
            self.lambda_.get_waiter("function_updated_v2").wait(FunctionName=settings.name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        else:
            made = self.create(Code=self.code("create"), Architectures=[architecture], Tags={"muster-prefix": self.prefix},
                               **configuration)
            self.lambda_.get_waiter("function_active_v2").wait(FunctionName=settings.name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        arn = made["FunctionArn"]
        self.made["functions"][handler] = arn
        return arn

    def present(self, name):
        try:
            return self.lambda_.get_function(FunctionName=name)["Configuration"]
        except self.lambda_.exceptions.ResourceNotFoundException:
            return {}

    def create(self, **arguments):
        deadline = time.monotonic() + ROLE_SECONDS
        while True:
            try:
                return self.lambda_.create_function(**arguments)
            except self.lambda_.exceptions.InvalidParameterValueException as error:
                if "assume" not in str(error) and "role" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(2)

    def code(self, action):
        if self.package.stat().st_size <= DIRECT_LIMIT:
            return {"ZipFile": self.package.read_bytes()}
        if self.uploaded is None:
            bucket = f"{self.prefix}-functions"
            self.bucket(bucket)
            self.s3.upload_file(str(self.package), bucket, self.package.name)
            self.uploaded = {"S3Bucket": bucket, "S3Key": self.package.name}
        return self.uploaded

    def permit(self, handler, statement, **permission):
        ignore("ResourceConflictException", lambda: self.lambda_.add_permission(
            FunctionName=self.functions[handler].name, StatementId=statement, **permission))

    def map(self, queue, handler):
        name = self.functions[handler].name
        # A new account runs ten functions at once. Those that the queue starts leave room for others.
        settings = {"BatchSize": 10, "FunctionResponseTypes": ["ReportBatchItemFailures"], "ScalingConfig": {"MaximumConcurrency": 5}}
        mappings = self.lambda_.list_event_source_mappings(EventSourceArn=queue, FunctionName=name)["EventSourceMappings"]
        if mappings:
            self.lambda_.update_event_source_mapping(UUID=mappings[0]["UUID"], FunctionName=name, **settings)
        else:
            self.lambda_.create_event_source_mapping(EventSourceArn=queue, FunctionName=name, **settings)

    def url(self, handler):
        """Makes the function's URL. Existing clients of this shape sign nothing and need a public one."""
        name = self.functions[handler].name
        if self.public_url:
            self.permit(handler, "url", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE")
            # AWS asks for both since October 2025. An older boto3 does not know the parameter.
            if "InvokedViaFunctionUrl" in self.lambda_.meta.service_model.operation_model("AddPermission").input_shape.members:
                self.permit(handler, "url-invoke", Action="lambda:InvokeFunction", Principal="*", InvokedViaFunctionUrl=True)
        settings = {"FunctionName": name, "AuthType": "NONE" if self.public_url else "AWS_IAM"}
        try:
            return self.lambda_.create_function_url_config(**settings)["FunctionUrl"]
        except self.lambda_.exceptions.ResourceConflictException:
            return self.lambda_.update_function_url_config(**settings)["FunctionUrl"]


def ignore(code, call):
    """Makes a call; an error with this code counts as success."""
    try:
        return call()
    except ClientError as error:
        if error.response["Error"]["Code"] != code:
            raise


def changed(functions, names=(), memory=(), timeouts=()):
    """Returns the functions with settings given as (handler, value)."""
    result = dict(functions)
    for field, values in (("name", names), ("memory_mb", memory), ("timeout_s", timeouts)):
        for handler, value in values:
            result[handler] = replace(result[handler], **{field: value})
    return result


def session_from_environment(endpoint_url=None, region=None):
    """Returns what boto3.client needs besides the service: AWS by its own settings, or an endpoint, with test keys if there are none."""
    if not endpoint_url:
        return {"region_name": region} if region else {}
    session = {"endpoint_url": endpoint_url, "region_name": region or os.environ.get("AWS_REGION", "us-east-1")}
    if not boto3.Session().get_credentials():
        session.update(aws_access_key_id="test", aws_secret_access_key="test")
    return session
