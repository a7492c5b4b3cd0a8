"""Functions: what their calls return, and what becomes of invocations. moto would run functions in Docker."""

import base64
import datetime
import io
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
import warnings
import zipfile

import pytest
from conftest import ENVIRONMENT, REGION, attribute, eventually, receive, refused

# Echoes events, and does what their fields say.
BOOTSTRAP = """#!/usr/bin/env python3
import json, os, sys, time, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
count = 0
while True:
    reply = urllib.request.urlopen(api + "next")
    request_id = reply.headers["Lambda-Runtime-Aws-Request-Id"]
    event = json.loads(reply.read())
    count += 1
    print("event", count, flush=True)
    kind, result = "response", {"count": count, "pid": os.getpid(), "event": event, "env": dict(os.environ)}
    if isinstance(event, dict):
        if "fail" in event:
            kind, result = "error", {"errorType": "Boom", "errorMessage": event["fail"]}
        time.sleep(event.get("sleep", 0))
        if "exit" in event:
            sys.exit(event["exit"])
        records = event.get("Records", [])
        if records and "body" in records[0]:
            failed = [record["messageId"] for record in records if record["body"] == "bad"]
            result = {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}
        if "requestContext" in event:
            result = {"statusCode": 201, "headers": {"X-Path": event["rawPath"]}, "cookies": ["a=1"],
                      "body": json.dumps({"body": event.get("body"), "query": event.get("queryStringParameters")})}
    urllib.request.urlopen(urllib.request.Request(api + request_id + "/" + kind, json.dumps(result).encode())).read()
"""
ASSUMED = '{"Version": "2012-10-17", "Statement": []}'


def zipped(text=BOOTSTRAP, name="bootstrap", mode=0o755):
    archive = io.BytesIO()
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(entry, text)
    return archive.getvalue()


@pytest.fixture
def client(target):
    return target.client("lambda")


@pytest.fixture
def role(target, name):
    return target.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED)["Role"]["Arn"]


@pytest.fixture
def function(client, name, role):
    """Creates a function and returns its configuration."""
    def make(code=None, **settings):
        made = client.create_function(FunctionName=name, Runtime="provided.al2023", Role=role, Handler="bootstrap",
                                      Code={"ZipFile": code or zipped()}, **settings)
        client.get_waiter("function_active_v2").wait(FunctionName=name)
        return made

    return make


def invoke(client, name, event, **arguments):
    reply = client.invoke(FunctionName=name, Payload=json.dumps(event), **arguments)
    return reply, json.loads(reply["Payload"].read() or "null")


def test_a_function_is_described_changed_and_deleted(client, name, function):
    made = function(Timeout=5, MemorySize=256, Environment={"Variables": {"COLOR": "red"}}, Tags={"team": "a"})
    assert made["FunctionArn"] == f"arn:aws:lambda:us-east-1:{made['FunctionArn'].split(':')[4]}:function:{name}"
    found = client.get_function(FunctionName=made["FunctionArn"])
    configuration = found["Configuration"]
    assert (configuration["Timeout"], configuration["MemorySize"]) == (5, 256)
    assert configuration["Environment"]["Variables"] == {"COLOR": "red"}
    assert (configuration["State"], configuration["Version"]) == ("Active", "$LATEST")
    assert (found["Tags"], found["Code"]["RepositoryType"]) == ({"team": "a"}, "S3")
    client.update_function_configuration(FunctionName=name, Timeout=7)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    changed = client.update_function_code(FunctionName=name, ZipFile=zipped(BOOTSTRAP + "\n"))
    assert changed["CodeSha256"] != configuration["CodeSha256"]
    assert client.get_function_configuration(FunctionName=name)["Timeout"] == 7
    pages = client.get_paginator("list_functions").paginate()
    assert name in [one["FunctionName"] for page in pages for one in page["Functions"]]
    client.delete_function(FunctionName=name)
    with refused("ResourceNotFoundException", 404):
        client.get_function(FunctionName=name)


def test_a_role_that_does_not_exist_is_refused(client, name, role):
    with refused("InvalidParameterValueException", 400):
        client.create_function(FunctionName=name, Runtime="provided.al2023", Role=role + "-missing", Handler="bootstrap",
                               Code={"ZipFile": zipped()})


def test_a_name_is_taken_once(function):
    function()
    with refused("ResourceConflictException", 409):
        function()


def test_code_may_lie_in_a_bucket(client, s3, bucket, name, role):
    s3.put_object(Bucket=bucket, Key="code.zip", Body=zipped())
    client.create_function(FunctionName=name, Runtime="provided.al2023", Role=role, Handler="bootstrap",
                           Code={"S3Bucket": bucket, "S3Key": "code.zip"})
    assert client.get_function_configuration(FunctionName=name)["CodeSize"] == len(zipped())


def test_permissions_are_statements_of_a_policy(client, name, function):
    arn = function()["FunctionArn"]
    with refused("ResourceNotFoundException", 404):
        client.get_policy(FunctionName=name)
    client.add_permission(FunctionName=name, StatementId="one", Action="lambda:InvokeFunction",
                          Principal="s3.amazonaws.com", SourceArn="arn:aws:s3:::clips")
    with refused("ResourceConflictException", 409):
        client.add_permission(FunctionName=name, StatementId="one", Action="lambda:InvokeFunction",
                              Principal="s3.amazonaws.com")
    statement, = json.loads(client.get_policy(FunctionName=name)["Policy"])["Statement"]
    assert (statement["Sid"], statement["Effect"], statement["Resource"]) == ("one", "Allow", arn)
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Condition"]["ArnLike"]["AWS:SourceArn"] == "arn:aws:s3:::clips"
    client.remove_permission(FunctionName=name, StatementId="one")
    with refused("ResourceNotFoundException", 404):
        client.remove_permission(FunctionName=name, StatementId="one")


def test_concurrency_is_reserved(client, name, function):
    function()
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    assert client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 2
    client.delete_function_concurrency(FunctionName=name)
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)


def test_an_event_source_is_described(client, name, function, sqs_today, queue_today):
    arn = function()["FunctionArn"]
    queue = attribute(sqs_today, queue_today(), "QueueArn")
    made = client.create_event_source_mapping(FunctionName=name, EventSourceArn=queue, BatchSize=5,
                                              FunctionResponseTypes=["ReportBatchItemFailures"])
    found = client.get_event_source_mapping(UUID=made["UUID"])
    assert (found["EventSourceArn"], found["FunctionArn"], found["BatchSize"]) == (queue, arn, 5)
    eventually(lambda: client.get_event_source_mapping(UUID=made["UUID"])["State"] == "Enabled")
    listed = client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    assert [one["UUID"] for one in listed] == [made["UUID"]]
    client.delete_event_source_mapping(UUID=made["UUID"])
    eventually(lambda: not client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"])


def test_an_invocation_returns_what_the_function_does(client, name, function, only_localcloud):
    arn = function(Environment={"Variables": {"COLOR": "red"}})["FunctionArn"]
    reply, result = invoke(client, name, {"a": [1, "ü"]}, LogType="Tail")
    assert (reply["StatusCode"], reply["ExecutedVersion"]) == (200, "$LATEST") and "FunctionError" not in reply
    assert (result["event"], result["count"]) == ({"a": [1, "ü"]}, 1)
    environment = result["env"]
    assert environment["COLOR"] == "red" and environment["AWS_LAMBDA_FUNCTION_NAME"] == arn.split(":")[-1]
    assert {"_HANDLER", "AWS_REGION", "AWS_ACCESS_KEY_ID", "LAMBDA_TASK_ROOT", "TMPDIR"} <= set(environment)
    log = base64.b64decode(reply["LogResult"]).decode()
    assert [line.split(" ")[0] for line in log.splitlines()] == ["START", "event", "END", "REPORT"]
    again = invoke(client, name, {})[1]
    assert (again["count"], again["pid"]) == (2, result["pid"])


@pytest.mark.parametrize("event, kind, text", [
    ({"fail": "boom"}, "Boom", "boom"),
    ({"exit": 3}, "Runtime.ExitError", "exit"),
    ({"sleep": 3}, "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
], ids=["error", "exit", "timeout"])
def test_a_failed_invocation_is_a_reply(client, name, function, only_localcloud, event, kind, text):
    function(Timeout=1)
    reply, error = invoke(client, name, event)
    assert (reply["StatusCode"], reply["FunctionError"]) == (200, "Unhandled")
    assert error["errorType"] == kind and text in error["errorMessage"]
    assert invoke(client, name, {})[1]["event"] == {}


def test_no_concurrency_means_throttling(client, name, function, only_localcloud):
    function()
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with refused("TooManyRequestsException", 429):
        invoke(client, name, {})


def test_invocations_are_metrics(target, client, name, function, only_localcloud):
    function()
    started = datetime.datetime.now(datetime.timezone.utc)
    begin = started.replace(second=0, microsecond=0) - datetime.timedelta(minutes=1)
    for event in ({"sleep": 0.2}, {}, {"fail": "boom"}):
        invoke(client, name, event)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with refused("TooManyRequestsException", 429):
        invoke(client, name, {})
    end = started + datetime.timedelta(minutes=10)
    cloudwatch = target.client("cloudwatch")
    metric = {"Namespace": "AWS/Lambda", "Dimensions": [{"Name": "FunctionName", "Value": name}]}
    # One period for all: the calls may begin in one minute and end in the next.
    period = 3600

    def statistic(metric_name, statistic):
        point, = cloudwatch.get_metric_statistics(
            **metric, MetricName=metric_name, StartTime=begin, EndTime=end, Period=period, Statistics=[statistic])["Datapoints"]
        return point[statistic]

    wanted = {"Invocations": 3.0, "Errors": 1.0, "Throttles": 1.0}
    assert {metric_name: statistic(metric_name, "Sum") for metric_name in wanted} == wanted
    assert statistic("Duration", "SampleCount") == 3.0
    assert statistic("Duration", "Maximum") >= 200.0 and statistic("Duration", "Minimum") > 0.0
    assert statistic("ConcurrentExecutions", "Maximum") == 1.0
    wanted.update(Duration=statistic("Duration", "Average"), ConcurrentExecutions=1.0)
    statistics = {"Duration": "Average", "ConcurrentExecutions": "Maximum"}
    data = cloudwatch.get_metric_data(StartTime=begin, EndTime=end, MetricDataQueries=[
        {"Id": metric_name.lower(), "MetricStat": {"Metric": dict(metric, MetricName=metric_name), "Period": period,
                                                   "Stat": statistics.get(metric_name, "Sum")}}
        for metric_name in wanted])["MetricDataResults"]
    assert {one["Id"]: one["Values"] for one in data} == {key.lower(): [value] for key, value in wanted.items()}


def test_an_event_that_fails_is_a_dead_letter(client, name, function, sqs_today, queue_today, only_localcloud):
    url = queue_today()
    function(DeadLetterConfig={"TargetArn": attribute(sqs_today, url, "QueueArn")})
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    reply, _ = invoke(client, name, {"fail": "boom"}, InvocationType="Event")
    assert reply["StatusCode"] == 202
    message, = eventually(lambda: receive(sqs_today, url, WaitTimeSeconds=1, MessageAttributeNames=["All"]))
    assert json.loads(message["Body"]) == {"fail": "boom"}
    attributes = {key: value["StringValue"] for key, value in message["MessageAttributes"].items()}
    assert attributes.pop("RequestID") and attributes == {"ErrorCode": "200", "ErrorMessage": "boom"}


@pytest.mark.parametrize("text", ["", "ü" * 2000], ids=["empty", "long"])
def test_any_error_message_makes_a_dead_letter(client, name, function, sqs_today, queue_today, only_localcloud, text):
    url = queue_today()
    function(DeadLetterConfig={"TargetArn": attribute(sqs_today, url, "QueueArn")})
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    invoke(client, name, {"fail": text}, InvocationType="Event")
    assert eventually(lambda: receive(sqs_today, url, WaitTimeSeconds=1))


def test_an_event_waits_for_concurrency(client, name, function, sqs_today, queue_today, only_localcloud):
    url = queue_today()
    function()
    client.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": attribute(sqs_today, url, "QueueArn")}})
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    for number in range(3):
        invoke(client, name, {"number": number, "sleep": 0.3}, InvocationType="Event")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    found = set()

    def all_done():
        for message in receive(sqs_today, url, WaitTimeSeconds=1, MaxNumberOfMessages=10):
            found.add(json.loads(message["Body"])["requestPayload"]["number"])
        return found == {0, 1, 2}

    eventually(all_done)


def test_a_queue_starts_the_function(client, name, function, sqs_today, queue_today, only_localcloud):
    url = queue_today(VisibilityTimeout=60)
    function()
    client.create_event_source_mapping(
        FunctionName=name, EventSourceArn=attribute(sqs_today, url, "QueueArn"),
        FunctionResponseTypes=["ReportBatchItemFailures"])
    for body in ["good", "bad", "good"]:
        sqs_today.send_message(QueueUrl=url, MessageBody=body)
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def only_the_bad_one_is_left():
        found = sqs_today.get_queue_attributes(QueueUrl=url, AttributeNames=counts)["Attributes"]
        return [found[count] for count in counts] == ["0", "1"]

    eventually(only_the_bad_one_is_left)


def test_a_bucket_starts_the_function(target, client, s3, bucket, name, function, only_localcloud):
    arn = function()["FunctionArn"]
    configuration = {"LambdaFunctionConfigurations": [{"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    with refused("InvalidArgument", 400):
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    client.add_permission(FunctionName=name, StatementId="s3", Action="lambda:InvokeFunction",
                          Principal="s3.amazonaws.com", SourceArn=f"arn:aws:s3:::{bucket}")
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    s3.put_object(Bucket=bucket, Key="a b.mp4", Body=b"x")
    logs = target.client("logs")

    def ran():
        try:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return False
        return any(event["message"].startswith("REPORT") for event in events)

    eventually(ran)


def test_a_url_calls_the_function(client, name, function, only_localcloud):
    function()
    url = client.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    assert caught.value.code == 403
    client.add_permission(FunctionName=name, StatementId="url", Action="lambda:InvokeFunctionUrl", Principal="*",
                          FunctionUrlAuthType="NONE")
    request = urllib.request.Request(url + "a/b?x=1", b'{"k": 1}', {"Content-Type": "application/json"})
    reply = urllib.request.urlopen(request)
    assert (reply.status, reply.headers["X-Path"], reply.headers["Set-Cookie"]) == (201, "/a/b", "a=1")
    assert json.loads(reply.read()) == {"body": '{"k": 1}', "query": {"x": "1"}}


@pytest.mark.parametrize("code", [
    b"no zip", zipped(name="../escape"), zipped(name="/absolute"), zipped()[:100],
], ids=["text", "parent", "absolute", "truncated"])
def test_a_hostile_zip_is_refused(client, name, role, only_localcloud, code):
    with refused("InvalidParameterValueException", 400):
        client.create_function(FunctionName=name, Runtime="provided.al2023", Role=role, Handler="bootstrap",
                               Code={"ZipFile": code})
    with refused("ResourceNotFoundException", 404):
        client.get_function(FunctionName=name)


@pytest.fixture
def cargo_lambda(target, tmp_path, only_localcloud):
    """Returns a call of `cargo lambda`, in a crate."""
    program = ENVIRONMENT.parent / "cargo-lambda" / "cargo-lambda"
    if not (program.exists() and shutil.which("cargo")):
        warnings.warn("cargo lambda is NOT tested: the program cargo-lambda or cargo is missing")
        pytest.skip("cargo-lambda or cargo is missing")
    # Even without a build it asks for a manifest.
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.rs").touch()
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "f"\nversion = "0.1.0"\nedition = "2024"\n')
    environment = dict(os.environ, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION=REGION)

    def call(command, *arguments):
        done = subprocess.run([program, "lambda", command, "--endpoint-url", target.endpoint, *arguments], cwd=tmp_path,
                              env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_cargo_lambda_deploys(cargo_lambda, tmp_path, client, name, role):
    # It takes programs in the format ELF alone. bash runs the file that BASH_ENV names.
    (tmp_path / "start").write_text(f"exec python3 - <<'END'\n{BOOTSTRAP}END\n")
    options = ["--role", role, "--binary-path", shutil.which("bash"), "--include", "start"]
    assert f":function:{name}" in cargo_lambda("deploy", *options, "--env-var", "BASH_ENV=start", name)
    assert invoke(client, name, {"a": 1})[1]["event"] == {"a": 1}
    first = client.get_function_configuration(FunctionName=name)
    (tmp_path / "start").write_text(f"exec python3 - <<'END'\n{BOOTSTRAP}\nEND\n")
    cargo_lambda("deploy", *options, "--env-var", "BASH_ENV=start,COLOR=red", "--memory", "256", "--timeout", "9", name)
    changed = client.get_function_configuration(FunctionName=name)
    assert (changed["MemorySize"], changed["Timeout"]) == (256, 9) and changed["CodeSha256"] != first["CodeSha256"]
    assert invoke(client, name, {})[1]["env"]["COLOR"] == "red"
