"""Whose requests are answered."""

import requests
from conftest import eventually, refused


def test_a_wrong_secret_is_noticed(target, bucket):
    with refused("SignatureDoesNotMatch", 403):
        target.client("s3", secret="wrong").list_objects_v2(Bucket=bucket)
    # The second name is that of services which speak JSON.
    with refused(["SignatureDoesNotMatch", "InvalidSignatureException"], 403):
        target.client("sqs", secret="wrong").list_queues()
    with refused("AuthFailure", 401):
        target.client("ec2", secret="wrong").describe_instances()


def test_an_unknown_key_is_noticed(target, bucket):
    with refused("InvalidAccessKeyId", 403):
        target.client("s3", key="AKIAUNKNOWN").list_objects_v2(Bucket=bucket)
    with refused(["InvalidClientTokenId", "UnrecognizedClientException"], 403):
        target.client("sqs", key="AKIAUNKNOWN").list_queues()
    with refused("AuthFailure", 401):
        target.client("ec2", key="AKIAUNKNOWN").describe_instances()


def test_a_presigned_url_expires(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, ExpiresIn=1)
    assert eventually(lambda: requests.get(url).status_code != 200, seconds=10)
    answer = requests.get(url)
    assert (answer.status_code, "<Code>AccessDenied</Code>" in answer.text) == (403, True)


def test_a_presigned_url_cannot_be_changed(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_object(Bucket=bucket, Key="other", Body=b"x")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
    answer = requests.get(url.replace("/k?", "/other?"))
    assert (answer.status_code, "<Code>SignatureDoesNotMatch</Code>" in answer.text) == (403, True)


def test_strangers_read_nothing(target, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    answer = requests.get(f"{target.endpoint}/{bucket}/k")
    assert (answer.status_code, "<Code>AccessDenied</Code>" in answer.text) == (403, True)
