"""Dead-letter queues."""

import json

from conftest import attribute, eventually, receive, refused


def arn(sqs, url):
    return attribute(sqs, url, "QueueArn")


def policy(target, count=1):
    return json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": count})


def test_a_message_received_too_often_is_in_the_dead_letter_queue(sqs, queue):
    dead = queue()
    url = queue(VisibilityTimeout=0, RedrivePolicy=policy(arn(sqs, dead), 2))
    sent = sqs.send_message(QueueUrl=url, MessageBody="poison")
    for count in ["1", "2"]:
        message, = receive(sqs, url, AttributeNames=["All"], WaitTimeSeconds=5)
        assert message["Attributes"]["ApproximateReceiveCount"] == count
    assert receive(sqs, url) == []
    message, = receive(sqs, dead, WaitTimeSeconds=5, AttributeNames=["All"])
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "poison")
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == arn(sqs, url)


def test_the_sources_of_a_dead_letter_queue_are_listed(sqs, queue):
    dead = queue()
    url = queue(RedrivePolicy=policy(arn(sqs, dead)))
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    assert sqs.list_dead_letter_source_queues(QueueUrl=url).get("queueUrls", []) == []


def test_the_sources_of_a_dead_letter_queue_come_in_pages(sqs, queue):
    dead = queue()
    sources = {queue(RedrivePolicy=policy(arn(sqs, dead))) for _ in range(3)}
    page = sqs.list_dead_letter_source_queues(QueueUrl=dead, MaxResults=2)
    rest = sqs.list_dead_letter_source_queues(QueueUrl=dead, MaxResults=2, NextToken=page["NextToken"])
    assert (len(page["queueUrls"]), len(rest["queueUrls"])) == (2, 1)
    assert set(page["queueUrls"] + rest["queueUrls"]) == sources
    assert "NextToken" not in rest


def test_a_redrive_policy_names_a_queue_that_exists(sqs, queue):
    url = queue()
    absent = arn(sqs, url) + "-absent"
    for bad in [policy(absent), policy(arn(sqs, url), 0), policy(arn(sqs, url), 1001), "{}", "no JSON"]:
        with refused("InvalidParameterValue", 400):
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": bad})


def test_an_empty_redrive_policy_takes_it_away(sqs, queue):
    dead = queue()
    url = queue(RedrivePolicy=policy(arn(sqs, dead)))
    assert json.loads(attribute(sqs, url, "RedrivePolicy"))["deadLetterTargetArn"] == arn(sqs, dead)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert "RedrivePolicy" not in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def test_a_dead_letter_queue_may_choose_its_sources(sqs, queue):
    dead, allowed, other = queue(), queue(), queue()
    allow = json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [arn(sqs, allowed)]})
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"RedriveAllowPolicy": allow})
    assert json.loads(attribute(sqs, dead, "RedriveAllowPolicy"))["redrivePermission"] == "byQueue"
    sqs.set_queue_attributes(QueueUrl=allowed, Attributes={"RedrivePolicy": policy(arn(sqs, dead))})
    with refused("InvalidParameterValue", 400):
        sqs.set_queue_attributes(QueueUrl=other, Attributes={"RedrivePolicy": policy(arn(sqs, dead))})


def test_a_redrive_allow_policy_is_checked(sqs, queue):
    url = queue()
    for bad in ["no JSON", json.dumps({"redrivePermission": "perhaps"}),
                json.dumps({"redrivePermission": "byQueue"})]:
        with refused(["InvalidParameterValue", "InvalidAttributeValue"], 400):
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedriveAllowPolicy": bad})


def test_dead_messages_are_moved_back(sqs_today, queue_today):
    sqs, queue = sqs_today, queue_today
    dead = queue()
    url = queue(VisibilityTimeout=0, RedrivePolicy=policy(arn(sqs, dead)))
    sqs.send_message(QueueUrl=url, MessageBody="second chance")
    assert len(receive(sqs, url)) == 1
    assert receive(sqs, url) == []
    eventually(lambda: attribute(sqs, dead, "ApproximateNumberOfMessages") == "1")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "600"})
    handle = sqs.start_message_move_task(SourceArn=arn(sqs, dead))["TaskHandle"]
    assert handle
    moved, = receive(sqs, url, WaitTimeSeconds=10)
    assert moved["Body"] == "second chance"

    def finished():
        task = sqs.list_message_move_tasks(SourceArn=arn(sqs, dead))["Results"][0]
        return task["Status"] == "COMPLETED" and task["ApproximateNumberOfMessagesMoved"] == 1

    eventually(finished)


def test_a_move_task_is_cancelled_while_it_runs(sqs_today, queue_today):
    sqs, queue = sqs_today, queue_today
    dead = queue()
    queue(RedrivePolicy=policy(arn(sqs, dead)))
    target = arn(sqs, queue())
    sqs.send_message_batch(QueueUrl=dead, Entries=[
        {"Id": str(number), "MessageBody": str(number)} for number in range(10)])
    # Ten messages take ten seconds.
    handle = sqs.start_message_move_task(
        SourceArn=arn(sqs, dead), DestinationArn=target, MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    with refused("AWS.SimpleQueueService.UnsupportedOperation", 400):
        sqs.start_message_move_task(SourceArn=arn(sqs, dead), DestinationArn=target)
    assert sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"] < 10
    eventually(lambda: sqs.list_message_move_tasks(SourceArn=arn(sqs, dead))["Results"][0]["Status"] == "CANCELLED")
    assert int(attribute(sqs, dead, "ApproximateNumberOfMessages")) > 0


def test_only_a_dead_letter_queue_has_move_tasks(sqs_today, queue_today):
    with refused("InvalidParameterValue", 400):
        sqs_today.start_message_move_task(SourceArn=arn(sqs_today, queue_today()))
    with refused(["ResourceNotFoundException", "InvalidParameterValue"]):
        sqs_today.cancel_message_move_task(TaskHandle="bm9uc2Vuc2U=")
