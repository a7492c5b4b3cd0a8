"""CloudWatch Logs: groups, streams and events."""

import time

import pytest
from conftest import refused


@pytest.fixture
def logs(target):
    return target.client("logs")


@pytest.fixture
def group(logs, name):
    logs.create_log_group(logGroupName=f"/aws/lambda/{name}")
    return f"/aws/lambda/{name}"


@pytest.fixture
def put(logs, group):
    """Puts messages into a stream, a millisecond apart. Returns the time of the first."""
    streams = set()

    def put(stream, *messages, at=None):
        at = at or int(time.time() * 1000) - 10_000
        if stream not in streams:
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
            streams.add(stream)
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[
            {"timestamp": at + number, "message": message} for number, message in enumerate(messages)])
        return at

    return put


def messages(reply):
    return [event["message"] for event in reply["events"]]


def test_a_group_is_created_once_and_deleted(logs, group):
    described, = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert described["logGroupName"] == group and described["arn"].endswith(f":log-group:{group}:*")
    with refused("ResourceAlreadyExistsException", 400):
        logs.create_log_group(logGroupName=group)
    logs.delete_log_group(logGroupName=group)
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []
    with refused("ResourceNotFoundException", 400):
        logs.delete_log_group(logGroupName=group)


def test_groups_come_in_pages(logs, name):
    names = [f"{name}-{number}" for number in range(3)]
    for group in names:
        logs.create_log_group(logGroupName=group)
    pages = logs.get_paginator("describe_log_groups").paginate(
        logGroupNamePrefix=name, PaginationConfig={"PageSize": 2})
    assert [[group["logGroupName"] for group in page["logGroups"]] for page in pages] == [names[:2], names[2:]]


def test_a_name_of_a_group_is_checked(logs):
    with refused("InvalidParameterException", 400):
        logs.create_log_group(logGroupName="a b")


def test_retention_is_described(logs, group):
    logs.put_retention_policy(logGroupName=group, retentionInDays=7)
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["retentionInDays"] == 7
    logs.delete_retention_policy(logGroupName=group)
    assert "retentionInDays" not in logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]


def test_retention_has_certain_days(logs, group):
    with refused("InvalidParameterException", 400):
        logs.put_retention_policy(logGroupName=group, retentionInDays=2)


def test_streams_are_described_by_name_and_by_time(logs, group, put):
    at = int(time.time() * 1000) - 10_000
    put("a", "late", at=at + 100)
    put("b", "early", at=at)
    by_name = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert [stream["logStreamName"] for stream in by_name] == ["a", "b"]
    assert by_name[0]["lastEventTimestamp"] == at + 100
    by_time = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
    assert [stream["logStreamName"] for stream in by_time] == ["a", "b"]
    with refused("ResourceAlreadyExistsException", 400):
        logs.create_log_stream(logGroupName=group, logStreamName="a")
    logs.delete_log_stream(logGroupName=group, logStreamName="a")
    assert len(logs.describe_log_streams(logGroupName=group)["logStreams"]) == 1


def test_what_is_absent_is_not_found(logs, group, name):
    for call in (
            lambda: logs.describe_log_streams(logGroupName=name),
            lambda: logs.filter_log_events(logGroupName=name),
            lambda: logs.get_log_events(logGroupName=group, logStreamName=name),
            lambda: logs.put_log_events(logGroupName=group, logStreamName=name, logEvents=[
                {"timestamp": int(time.time() * 1000), "message": "m"}]),
            lambda: logs.create_log_stream(logGroupName=name, logStreamName=name)):
        with refused("ResourceNotFoundException", 400):
            call()


def test_events_are_read_forward(logs, group, put):
    put("s", "a", "b", "c")
    stream = {"logGroupName": group, "logStreamName": "s"}
    first = logs.get_log_events(**stream, startFromHead=True, limit=2)
    assert messages(first) == ["a", "b"]
    second = logs.get_log_events(**stream, startFromHead=True, limit=2, nextToken=first["nextForwardToken"])
    assert messages(second) == ["c"]
    end = logs.get_log_events(**stream, startFromHead=True, limit=2, nextToken=second["nextForwardToken"])
    assert messages(end) == [] and end["nextForwardToken"] == second["nextForwardToken"]


def test_events_are_read_backward(logs, group, put):
    put("s", "a", "b", "c")
    stream = {"logGroupName": group, "logStreamName": "s"}
    last = logs.get_log_events(**stream, limit=2)
    assert messages(last) == ["b", "c"]
    before = logs.get_log_events(**stream, limit=2, nextToken=last["nextBackwardToken"])
    assert messages(before) == ["a"]


def test_the_end_of_get_log_events_is_not_included(logs, group, put):
    at = put("s", "a", "b", "c")
    reply = logs.get_log_events(logGroupName=group, logStreamName="s", startTime=at + 1, endTime=at + 2)
    assert messages(reply) == ["b"]


def test_the_end_of_filter_log_events_is_included(logs, group, put):
    at = put("s", "a", "b", "c")
    reply = logs.filter_log_events(logGroupName=group, startTime=at + 1, endTime=at + 2)
    assert messages(reply) == ["b", "c"]


def test_events_of_all_streams_are_in_order_of_time(logs, group, put):
    at = put("s1", "a", "c")
    put("s2", "d", at=at + 5)
    put("s3", "b", at=at)
    reply = logs.filter_log_events(logGroupName=group)
    assert [event["timestamp"] - at for event in reply["events"]] == [0, 0, 1, 5]
    assert len({event["eventId"] for event in reply["events"]}) == 4
    assert messages(logs.filter_log_events(logGroupName=group, logStreamNames=["s2"])) == ["d"]
    assert len(messages(logs.filter_log_events(logGroupName=group, logStreamNamePrefix="s"))) == 4


def test_filtered_events_come_in_pages(logs, group, put):
    put("s", *"abcde")
    pages = list(logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, PaginationConfig={"PageSize": 2}))
    assert [message for page in pages for message in messages(page)] == list("abcde")
    assert len(messages(pages[0])) == 2


REPORT = "REPORT RequestId: 1 Duration: 2.00 ms"
WARNING = "[WARN] slow"
ERROR = '{"level": "ERROR", "latency": 120}'


@pytest.mark.parametrize("pattern,expected", [
    ("REPORT", [REPORT]), ('"REPORT RequestId"', [REPORT]), ("?WARN ?REPORT", [REPORT, WARNING]),
    ('-REPORT -"[WARN]"', [ERROR]), ('{ $.level = "ERROR" }', [ERROR]), ("{ $.latency > 200 }", [])],
    ids=["term", "phrase", "any", "none", "json", "number"])
def test_patterns_choose_events(logs, group, put, pattern, expected):
    put("s", REPORT, WARNING, ERROR)
    assert messages(logs.filter_log_events(logGroupName=group, filterPattern=pattern)) == expected


def test_put_events_are_in_order(logs, group, put):
    at = put("s", "a")
    with refused("InvalidParameterException", 400):
        logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[
            {"timestamp": at + 1, "message": "a"}, {"timestamp": at, "message": "b"}])


def test_events_that_are_too_old_are_rejected(logs, group, put):
    at = put("s", "a")
    reply = logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[
        {"timestamp": at - 15 * 24 * 3600 * 1000, "message": "old"}])
    assert reply["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    assert messages(logs.get_log_events(logGroupName=group, logStreamName="s")) == ["a"]


def test_a_wrong_token_is_refused(logs, group, put):
    put("s", "a")
    with refused("InvalidParameterException", 400):
        logs.get_log_events(logGroupName=group, logStreamName="s", nextToken="not-a-token")
