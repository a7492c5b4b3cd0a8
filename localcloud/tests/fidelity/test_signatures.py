"""Requests that are accepted by their signature, and others."""

import requests
from conftest import eventually, refused


def test_a_wrong_secret_is_refused(target, bucket):
    with refused("SignatureDoesNotMatch", 403):
        target.client("s3", secret="wrong").list_objects_v2(Bucket=bucket)
    # Services with JSON protocols have the second code.
    with refused(["SignatureDoesNotMatch", "InvalidSignatureException"], 403):
        target.client("sqs", secret="wrong").list_queues()
    with refused("AuthFailure", 401):
        target.client("ec2", secret="wrong").describe_instances()


def test_an_unknown_key_is_refused(target, bucket):
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
    response = requests.get(url)
    assert (response.status_code, "<Code>AccessDenied</Code>" in response.text) == (403, True)


def test_a_presigned_url_cannot_be_changed(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_object(Bucket=bucket, Key="other", Body=b"x")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
    response = requests.get(url.replace("/k?", "/other?"))
    assert (response.status_code, "<Code>SignatureDoesNotMatch</Code>" in response.text) == (403, True)


def test_an_unsigned_request_is_refused(target, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    response = requests.get(f"{target.endpoint}/{bucket}/k")
    assert (response.status_code, "<Code>AccessDenied</Code>" in response.text) == (403, True)
