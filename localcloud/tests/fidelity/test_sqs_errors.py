"""What SQS refuses, with the codes and the exceptions that clients branch on."""

import pytest
from conftest import receive, refused


def test_an_absent_queue_is_an_exception_of_its_own(sqs, name):
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName=name)
    with refused("AWS.SimpleQueueService.NonExistentQueue", 400):
        sqs.get_queue_url(QueueName=name)


def test_a_nonsensical_handle_is_invalid(sqs, queue):
    url = queue()
    with refused("ReceiptHandleIsInvalid"):
        sqs.delete_message(QueueUrl=url, ReceiptHandle="nonsense")


def test_batches_have_one_to_ten_entries_with_ids_of_their_own(sqs, queue):
    url = queue()
    entry = {"Id": "a", "MessageBody": "x"}
    with refused("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", 400):
        sqs.send_message_batch(QueueUrl=url, Entries=[entry, entry])
    with refused("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", 400):
        sqs.send_message_batch(QueueUrl=url, Entries=[
            {"Id": str(number), "MessageBody": "x"} for number in range(11)])
    with refused("AWS.SimpleQueueService.InvalidBatchEntryId", 400):
        sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "a b", "MessageBody": "x"}])


def test_a_batch_has_no_more_than_a_mebibyte(sqs_today, queue_today):
    url = queue_today()
    entries = [{"Id": str(number), "MessageBody": "x" * 524289} for number in range(2)]
    with refused("AWS.SimpleQueueService.BatchRequestTooLong", 400):
        sqs_today.send_message_batch(QueueUrl=url, Entries=entries)


def test_an_empty_batch_is_refused(sqs_today, queue_today):
    url = queue_today()
    with refused("AWS.SimpleQueueService.EmptyBatchRequest", 400):
        sqs_today.send_message_batch(QueueUrl=url, Entries=[])


@pytest.mark.parametrize("arguments", [
    {"MaxNumberOfMessages": 0}, {"MaxNumberOfMessages": 11}, {"WaitTimeSeconds": 21}, {"VisibilityTimeout": 43201}])
def test_receives_have_bounds(sqs, queue, arguments):
    url = queue()
    with refused("InvalidParameterValue", 400):
        sqs.receive_message(QueueUrl=url, **arguments)


def test_visibility_has_bounds(sqs, queue):
    url = queue()
    sqs.send_message(QueueUrl=url, MessageBody="x")
    message, = receive(sqs, url)
    with refused("InvalidParameterValue", 400):
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=43201)


@pytest.mark.parametrize("attribute", [
    {"DataType": "Colour", "StringValue": "red"},
    {"DataType": "Number", "StringValue": "twelve"},
    {"DataType": "String", "StringValue": ""},
])
def test_message_attributes_have_types(sqs_today, queue_today, attribute):
    url = queue_today()
    with refused("InvalidParameterValue", 400):
        sqs_today.send_message(QueueUrl=url, MessageBody="x", MessageAttributes={"a": attribute})


@pytest.mark.parametrize("bad", ["AWS.x", "a..b", ".a", "with space"])
def test_message_attributes_have_names(sqs_today, queue_today, bad):
    url = queue_today()
    with refused("InvalidParameterValue", 400):
        sqs_today.send_message(QueueUrl=url, MessageBody="x", MessageAttributes={
            bad: {"DataType": "String", "StringValue": "v"}})


def test_a_message_has_at_most_ten_attributes(sqs_today, queue_today):
    url = queue_today()
    attributes = {f"a{number}": {"DataType": "String", "StringValue": "v"} for number in range(11)}
    with refused("InvalidParameterValue", 400):
        sqs_today.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)


def test_deduplication_is_for_fifo_queues(sqs_today, queue_today):
    url = queue_today()
    with refused("InvalidParameterValue", 400):
        sqs_today.send_message(QueueUrl=url, MessageBody="x", MessageDeduplicationId="d")
