"""Objects that come in parts."""

import hashlib

import pytest
from conftest import refused

PART = b"p" * (5 * 1024 * 1024)


@pytest.fixture
def upload(s3, bucket):
    return s3.create_multipart_upload(Bucket=bucket, Key="k", Metadata={"a": "1"}, ContentType="text/plain")["UploadId"]


def put(s3, bucket, upload, number, body):
    answer = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=body)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(s3, bucket, upload, parts, **arguments):
    return s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts},
                                        **arguments)


def test_parts_become_one_object(s3, bucket, upload):
    parts = [put(s3, bucket, upload, 1, PART), put(s3, bucket, upload, 7, b"tail")]
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in listed] == [(1, len(PART)), (7, 4)]
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="k")
    done = complete(s3, bucket, upload, parts)
    digests = hashlib.md5(PART).digest() + hashlib.md5(b"tail").digest()
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == PART + b"tail"
    assert (got["Metadata"], got["ContentType"]) == ({"a": "1"}, "text/plain")


def test_a_part_is_read_by_its_number(s3, bucket, upload):
    complete(s3, bucket, upload, [put(s3, bucket, upload, 1, PART), put(s3, bucket, upload, 2, b"tail")])
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (got["Body"].read(), got["PartsCount"]) == (b"tail", 2)


def test_all_parts_but_the_last_have_five_mebibytes(s3, bucket, upload):
    parts = [put(s3, bucket, upload, 1, b"small"), put(s3, bucket, upload, 2, b"last")]
    with refused("EntityTooSmall", 400):
        complete(s3, bucket, upload, parts)


def test_parts_have_to_be_there_and_in_order(s3, bucket, upload):
    part = put(s3, bucket, upload, 1, PART)
    with refused("InvalidPart", 400):
        complete(s3, bucket, upload, [part, {"PartNumber": 2, "ETag": '"00000000000000000000000000000000"'}])
    other = put(s3, bucket, upload, 2, PART)
    with refused("InvalidPartOrder", 400):
        complete(s3, bucket, upload, [other, part])


def test_an_upload_is_listed_and_aborted(s3, bucket, upload):
    listed = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(one["Key"], one["UploadId"]) for one in listed] == [("k", upload)]
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    with refused("NoSuchUpload", 404):
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")


def test_a_part_may_be_copied(s3, bucket, upload):
    s3.put_object(Bucket=bucket, Key="from", Body=b"abcdef")
    copied = s3.upload_part_copy(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1,
                                 CopySource={"Bucket": bucket, "Key": "from"}, CopySourceRange="bytes=1-3")
    complete(s3, bucket, upload, [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"bcd"


def test_completing_may_ask_that_nothing_is_overwritten(s3, bucket, upload):
    part = put(s3, bucket, upload, 1, b"x")
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    with refused("PreconditionFailed", 412):
        complete(s3, bucket, upload, [part], IfNoneMatch="*")
