"""Sending, receiving, deleting, and the time in between."""

import hashlib
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import attribute, eventually, receive, refused


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def attributes_md5(attributes):
    """As the SQS developer guide defines it."""
    digest = hashlib.md5()

    def add(data):
        digest.update(struct.pack(">I", len(data)) + data)

    for name in sorted(attributes):
        value = attributes[name]
        add(name.encode())
        add(value["DataType"].encode())
        if "BinaryValue" in value:
            digest.update(b"\2")
            add(value["BinaryValue"])
        else:
            digest.update(b"\1")
            add(value["StringValue"].encode())
    return digest.hexdigest()


ATTRIBUTES = {
    "kind": {"DataType": "String.photo", "StringValue": "größe"},
    "count": {"DataType": "Number", "StringValue": "12.5"},
    "raw": {"DataType": "Binary", "BinaryValue": b"\0\1\xff"},
}


def test_a_message_arrives_with_digests_and_attributes(sqs, queue):
    url = queue()
    sent = sqs.send_message(QueueUrl=url, MessageBody="Grüße & <tags>", MessageAttributes=ATTRIBUTES)
    assert sent["MD5OfMessageBody"] == md5("Grüße & <tags>")
    assert sent["MD5OfMessageAttributes"] == attributes_md5(ATTRIBUTES)
    message, = receive(sqs, url, MessageAttributeNames=["All"], AttributeNames=["All"])
    assert message["Body"] == "Grüße & <tags>"
    assert message["MessageId"] == sent["MessageId"]
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["MessageAttributes"] == ATTRIBUTES
    system = message["Attributes"]
    assert system["ApproximateReceiveCount"] == "1"
    assert abs(int(system["SentTimestamp"]) / 1000 - time.time()) < 60
    assert int(system["ApproximateFirstReceiveTimestamp"]) >= int(system["SentTimestamp"])
    assert "SenderId" in system


def test_only_attributes_that_were_asked_for_come(sqs, queue):
    url = queue(VisibilityTimeout=0)
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=ATTRIBUTES)
    message, = receive(sqs, url)
    assert "MessageAttributes" not in message and "Attributes" not in message
    message, = receive(sqs, url, MessageAttributeNames=["ki.*", "count"], AttributeNames=["SentTimestamp"])
    assert set(message["Attributes"]) == {"SentTimestamp"}
    assert "count" in message["MessageAttributes"] and "raw" not in message["MessageAttributes"]
    message, = receive(sqs, url, MessageAttributeNames=["count"])
    assert message["MD5OfMessageAttributes"] == attributes_md5({"count": ATTRIBUTES["count"]})


def test_the_trace_header_is_a_system_attribute(sqs, queue):
    url = queue()
    header = "Root=1-5759e988-bd862e3fe1be46a994272793"
    sent = sqs.send_message(QueueUrl=url, MessageBody="x", MessageSystemAttributes={
        "AWSTraceHeader": {"DataType": "String", "StringValue": header}})
    assert "MD5OfMessageSystemAttributes" in sent
    message, = receive(sqs, url, AttributeNames=["AWSTraceHeader"])
    assert message["Attributes"] == {"AWSTraceHeader": header}


def test_a_received_message_is_hidden_and_comes_back(sqs, queue):
    url = queue(VisibilityTimeout=3)
    sqs.send_message(QueueUrl=url, MessageBody="x")
    message, = receive(sqs, url)
    assert receive(sqs, url) == []
    assert attribute(sqs, url, "ApproximateNumberOfMessagesNotVisible") == "1"
    again, = receive(sqs, url, WaitTimeSeconds=10, AttributeNames=["ApproximateReceiveCount"])
    assert again["MessageId"] == message["MessageId"]
    assert again["ReceiptHandle"] != message["ReceiptHandle"]
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"


def test_visibility_is_changed_while_in_flight(sqs, queue):
    url = queue()
    sqs.send_message(QueueUrl=url, MessageBody="x")
    message, = receive(sqs, url, VisibilityTimeout=600)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert len(receive(sqs, url)) == 1


def test_visibility_of_a_message_not_in_flight_cannot_be_changed(sqs, queue):
    url = queue()
    sqs.send_message(QueueUrl=url, MessageBody="x")
    message, = receive(sqs, url)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    with refused(["AWS.SimpleQueueService.MessageNotInflight", "InvalidParameterValue"], 400):
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=5)


def test_deleting_twice_is_no_error(sqs, queue):
    url = queue()
    sqs.send_message(QueueUrl=url, MessageBody="x")
    message, = receive(sqs, url, VisibilityTimeout=0)
    for _ in range(2):
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert receive(sqs, url) == []


def test_a_delayed_message_waits(sqs, queue):
    url = queue()
    sent = time.monotonic()
    sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=3)
    assert receive(sqs, url) == []
    assert attribute(sqs, url, "ApproximateNumberOfMessagesDelayed") == "1"
    assert len(receive(sqs, url, WaitTimeSeconds=10)) == 1
    assert time.monotonic() - sent >= 2.9


def test_the_queue_delays_what_does_not_say_otherwise(sqs, queue):
    url = queue(DelaySeconds=900)
    sqs.send_message(QueueUrl=url, MessageBody="late")
    sqs.send_message(QueueUrl=url, MessageBody="now", DelaySeconds=0)
    message, = receive(sqs, url, MaxNumberOfMessages=10)
    assert message["Body"] == "now"


def test_a_long_poll_waits_for_its_time(sqs, queue):
    url = queue(ReceiveMessageWaitTimeSeconds=2)
    started = time.monotonic()
    assert receive(sqs, url) == []
    assert time.monotonic() - started >= 1.9


def test_a_long_poll_ends_when_a_message_comes(sqs, queue):
    url = queue()
    started = time.monotonic()
    with ThreadPoolExecutor() as waiting:
        received = waiting.submit(receive, sqs, url, WaitTimeSeconds=20)
        sqs.send_message(QueueUrl=url, MessageBody="at last")
        message, = received.result()
    assert message["Body"] == "at last"
    assert time.monotonic() - started < 15


def test_batches_answer_for_each_entry(sqs, queue):
    url = queue()
    entries = [{"Id": str(number), "MessageBody": f"body {number}", "MessageAttributes": ATTRIBUTES}
               for number in range(9)]
    entries.append({"Id": "bad", "MessageBody": "x", "DelaySeconds": 901})
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == [str(number) for number in range(9)]
    assert answer["Successful"][3]["MD5OfMessageBody"] == md5("body 3")
    failed, = answer["Failed"]
    assert (failed["Id"], failed["SenderFault"], failed["Code"]) == ("bad", True, "InvalidParameterValue")
    messages = []
    eventually(lambda: messages.extend(receive(sqs, url, MaxNumberOfMessages=10)) or len(messages) == 9)
    entries = [{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 600}
               for number, message in enumerate(messages)]
    wrong = [{"Id": "bad", "ReceiptHandle": "nonsense", "VisibilityTimeout": 600}]
    changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries + wrong)
    assert len(changed["Successful"]) == 9
    failed, = changed["Failed"]
    assert (failed["Id"], failed["SenderFault"], failed["Code"]) == ("bad", True, "ReceiptHandleIsInvalid")
    entries = [{"Id": entry["Id"], "ReceiptHandle": entry["ReceiptHandle"]} for entry in entries]
    entries.append({"Id": "bad", "ReceiptHandle": "nonsense"})
    deleted = sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    assert len(deleted["Successful"]) == 9
    failed, = deleted["Failed"]
    assert (failed["Id"], failed["Code"]) == ("bad", "ReceiptHandleIsInvalid")
    assert attribute(sqs, url, "ApproximateNumberOfMessagesNotVisible") == "0"


def test_messages_are_limited_in_size_attributes_included(sqs, queue):
    url = queue(MaximumMessageSize=1024)
    sqs.send_message(QueueUrl=url, MessageBody="x" * 1024)
    with refused("InvalidParameterValue", 400):
        sqs.send_message(QueueUrl=url, MessageBody="x" * 1025)
    # Name, type and value of the attribute count: 1 + 6 + 10.
    extra = {"a": {"DataType": "String", "StringValue": "1234567890"}}
    sqs.send_message(QueueUrl=url, MessageBody="x" * 1007, MessageAttributes=extra)
    with refused("InvalidParameterValue", 400):
        sqs.send_message(QueueUrl=url, MessageBody="x" * 1008, MessageAttributes=extra)


def test_a_message_may_have_a_mebibyte_and_no_more(sqs_today, queue_today):
    url = queue_today()
    sqs_today.send_message(QueueUrl=url, MessageBody="x" * 1048576)
    with refused("InvalidParameterValue", 400):
        sqs_today.send_message(QueueUrl=url, MessageBody="x" * 1048577)


@pytest.mark.parametrize("body", ["\x0b", "a\x00b", "\ufffe"])
def test_characters_outside_xml_are_refused(sqs_today, queue_today, body):
    url = queue_today()
    with refused("InvalidMessageContents", 400):
        sqs_today.send_message(QueueUrl=url, MessageBody=body)
