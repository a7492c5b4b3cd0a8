"""Queues and their attributes."""

import json

import pytest
from conftest import attribute, eventually, receive, refused

DEFAULTS = {
    "DelaySeconds": "0", "MaximumMessageSize": "1048576", "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0", "VisibilityTimeout": "30", "ApproximateNumberOfMessages": "0",
    "ApproximateNumberOfMessagesNotVisible": "0", "ApproximateNumberOfMessagesDelayed": "0",
}


def test_a_new_queue_has_the_standard_attributes(sqs, queue):
    attributes = sqs.get_queue_attributes(QueueUrl=queue(), AttributeNames=["All"])["Attributes"]
    assert {key: attributes.get(key) for key in DEFAULTS} == DEFAULTS
    assert attributes["QueueArn"].startswith("arn:aws:sqs:us-east-1:")
    assert attributes["CreatedTimestamp"].isdigit() and attributes["LastModifiedTimestamp"].isdigit()
    assert attributes["SqsManagedSseEnabled"] == "true"


def test_creating_a_queue_again_finds_it_unless_attributes_differ(sqs, name):
    url = sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "5"})["QueueUrl"]
    assert sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "5"})["QueueUrl"] == url
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == url
    with refused("QueueAlreadyExists", 400):
        sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "6"})


def test_the_url_of_a_queue_is_found_by_its_name(sqs, name):
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    assert url.endswith(f"/{name}")


def test_a_bare_name_is_a_queue_url(sqs, name, only_localcloud):
    sqs.create_queue(QueueName=name)
    assert attribute(sqs, name, "ApproximateNumberOfMessages") == "0"


def test_queues_are_listed_by_prefix_and_in_pages(sqs, name):
    urls = sorted(sqs.create_queue(QueueName=f"{name}-{number}")["QueueUrl"] for number in range(5))
    assert sorted(sqs.list_queues(QueueNamePrefix=name)["QueueUrls"]) == urls
    page = sqs.list_queues(QueueNamePrefix=name, MaxResults=2)
    assert len(page["QueueUrls"]) == 2
    paginator = sqs.get_paginator("list_queues")
    pages = paginator.paginate(QueueNamePrefix=name, PaginationConfig={"PageSize": 2})
    assert sorted(url for page in pages for url in page["QueueUrls"]) == urls
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=f"{name}-no-such")


def test_a_deleted_queue_is_gone(sqs, queue):
    url = queue()
    sqs.delete_queue(QueueUrl=url)

    def gone():
        with refused("AWS.SimpleQueueService.NonExistentQueue", 400):
            sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return True

    assert eventually(gone)


def test_attributes_are_changed(sqs, queue):
    url = queue()
    changed = {"DelaySeconds": "9", "MaximumMessageSize": "2048", "MessageRetentionPeriod": "60",
               "ReceiveMessageWaitTimeSeconds": "20", "VisibilityTimeout": "43200"}
    sqs.set_queue_attributes(QueueUrl=url, Attributes=changed)
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(changed))["Attributes"]
    assert attributes == changed


@pytest.mark.parametrize("attribute_name, value", [
    ("DelaySeconds", "901"), ("DelaySeconds", "-1"), ("MaximumMessageSize", "1023"),
    ("MaximumMessageSize", "1048577"), ("MessageRetentionPeriod", "59"), ("MessageRetentionPeriod", "1209601"),
    ("ReceiveMessageWaitTimeSeconds", "21"), ("VisibilityTimeout", "43201"), ("VisibilityTimeout", "soon"),
])
def test_attributes_have_bounds(sqs_today, queue_today, attribute_name, value):
    url = queue_today()
    with refused("InvalidAttributeValue", 400):
        sqs_today.set_queue_attributes(QueueUrl=url, Attributes={attribute_name: value})


def test_an_unknown_attribute_is_refused(sqs, queue):
    url = queue()
    with refused("InvalidAttributeName", 400):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Colour": "red"})
    with refused("InvalidAttributeName", 400):
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Colour"])


@pytest.mark.parametrize("bad", ["with space", "ümlaut", "x" * 81, "a/b"])
def test_names_are_limited(sqs_today, bad):
    with refused("InvalidParameterValue", 400):
        sqs_today.create_queue(QueueName=bad)


def test_fifo_queues_can_be_created(sqs_today, name):
    answer = sqs_today.create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})
    assert answer["QueueUrl"].endswith(".fifo")


def test_a_fifo_queue_needs_its_suffix(sqs, name):
    with refused("InvalidParameterValue", 400):
        sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})


def test_tags_are_set_listed_and_removed(sqs, name):
    url = sqs.create_queue(QueueName=name, tags={"team": "a"})["QueueUrl"]
    sqs.tag_queue(QueueUrl=url, Tags={"stage": "test", "team": "b"})
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "b", "stage": "test"}
    sqs.untag_queue(QueueUrl=url, TagKeys=["team", "absent"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"stage": "test"}


def test_permissions_become_statements_of_the_policy(sqs, queue):
    url = queue()
    sqs.add_permission(QueueUrl=url, Label="share", AWSAccountIds=["111122223333"], Actions=["SendMessage"])
    policy = json.loads(attribute(sqs, url, "Policy"))
    statement, = policy["Statement"]
    assert (statement["Sid"], statement["Effect"]) == ("share", "Allow")
    assert statement["Action"] == "SQS:SendMessage"
    with refused("InvalidParameterValue", 400):
        sqs.add_permission(QueueUrl=url, Label="share", AWSAccountIds=["111122223333"], Actions=["SendMessage"])
    sqs.remove_permission(QueueUrl=url, Label="share")
    with refused("InvalidParameterValue", 400):
        sqs.remove_permission(QueueUrl=url, Label="share")


def test_a_purge_empties_the_queue_once_a_minute(sqs, queue):
    url = queue()
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    sqs.purge_queue(QueueUrl=url)
    eventually(lambda: attribute(sqs, url, "ApproximateNumberOfMessages") == "0")
    assert receive(sqs, url) == []
    # With HTTP status 403 in the query protocol.
    with refused("AWS.SimpleQueueService.PurgeQueueInProgress"):
        sqs.purge_queue(QueueUrl=url)
