"""Events of a bucket, as messages in a queue."""

import json

import pytest
from conftest import attribute, eventually, receive, refused


@pytest.fixture
def events(sqs_today, queue_today):
    """The queue's ARN, and a function that answers the records of so many events."""
    url = queue_today()
    found = []

    def wait_for(count):
        def enough():
            for message in receive(sqs_today, url, MaxNumberOfMessages=10, WaitTimeSeconds=1):
                found.extend(json.loads(message["Body"]).get("Records", []))
                sqs_today.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return len(found) >= count

        eventually(enough)
        return sorted(found, key=lambda record: record["s3"]["object"]["sequencer"])

    wait_for.url = url
    return attribute(sqs_today, url, "QueueArn"), wait_for


def configure(s3, bucket, arn, names, rules=()):
    configuration = {"Id": "rule", "QueueArn": arn, "Events": names}
    if rules:
        configuration["Filter"] = {"Key": {"FilterRules": [{"Name": key, "Value": value} for key, value in rules]}}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [configuration]})


def test_a_configuration_is_answered_as_it_was_put(s3, bucket, events):
    arn, _ = events
    configure(s3, bucket, arn, ["s3:ObjectCreated:*"], [("prefix", "in/"), ("suffix", ".jpg")])
    found, = s3.get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"]
    assert (found["Id"], found["QueueArn"], found["Events"]) == ("rule", arn, ["s3:ObjectCreated:*"])
    rules = {rule["Name"].lower(): rule["Value"] for rule in found["Filter"]["Key"]["FilterRules"]}
    assert rules == {"prefix": "in/", "suffix": ".jpg"}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


def test_what_matches_is_told_in_the_event_format(s3, bucket, events):
    arn, wait_for = events
    configure(s3, bucket, arn, ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"], [("prefix", "in/"), ("suffix", ".jpg")])
    s3.put_object(Bucket=bucket, Key="out/a.jpg", Body=b"x")
    s3.put_object(Bucket=bucket, Key="in/a.png", Body=b"x")
    etag = s3.put_object(Bucket=bucket, Key="in/a b+ü.jpg", Body=b"xyz")["ETag"]
    s3.copy_object(Bucket=bucket, Key="in/copy.jpg", CopySource={"Bucket": bucket, "Key": "in/a b+ü.jpg"})
    s3.delete_object(Bucket=bucket, Key="in/copy.jpg")
    records = wait_for(3)
    assert [record["eventName"] for record in records] == [
        "ObjectCreated:Put", "ObjectCreated:Copy", "ObjectRemoved:Delete"]
    record = records[0]
    assert (record["eventSource"], record["awsRegion"]) == ("aws:s3", "us-east-1")
    assert record["s3"]["configurationId"] == "rule"
    assert record["s3"]["bucket"]["name"] == bucket
    assert record["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}"
    told = record["s3"]["object"]
    assert (told["key"], told["size"], told["eTag"]) == ("in/a+b%2B%C3%BC.jpg", 3, etag.strip('"'))


def test_configuring_sends_a_test_event(s3, sqs_today, bucket, events):
    arn, wait_for = events
    configure(s3, bucket, arn, ["s3:ObjectCreated:*"])
    message, = receive(sqs_today, wait_for.url, WaitTimeSeconds=5)
    event = json.loads(message["Body"])
    assert (event["Service"], event["Event"], event["Bucket"]) == ("Amazon S3", "s3:TestEvent", bucket)


def test_a_queue_that_is_not_there_is_refused(s3, bucket, events):
    arn, _ = events
    with refused("InvalidArgument", 400):
        configure(s3, bucket, arn + "-absent", ["s3:ObjectCreated:*"])
    with refused("InvalidArgument", 400):
        configure(s3, bucket, arn, ["s3:ObjectCreated:Whenever"])
