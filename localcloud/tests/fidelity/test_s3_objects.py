"""Objects, one by one."""

import datetime
import hashlib

import pytest
import requests
from conftest import refused


def body_of(answer):
    return answer["Body"].read()


def test_an_object_is_read_as_it_was_put(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="folder/größe & +.jpg", Body=b"bytes", ContentType="image/jpeg",
                        CacheControl="no-cache", Metadata={"name": "ada"})
    etag = f'"{hashlib.md5(b"bytes").hexdigest()}"'
    assert put["ETag"] == etag
    got = s3.get_object(Bucket=bucket, Key="folder/größe & +.jpg")
    assert body_of(got) == b"bytes"
    assert (got["ContentType"], got["CacheControl"], got["Metadata"]) == ("image/jpeg", "no-cache", {"name": "ada"})
    assert (got["ETag"], got["ContentLength"]) == (etag, 5)
    head = s3.head_object(Bucket=bucket, Key="folder/größe & +.jpg")
    assert (head["ETag"], head["ContentLength"], head["Metadata"]) == (etag, 5, {"name": "ada"})
    age = datetime.datetime.now(datetime.timezone.utc) - head["LastModified"]
    assert abs(age.total_seconds()) < 60


def test_a_plain_object_is_binary(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="k")["ContentType"] == "binary/octet-stream"


@pytest.mark.parametrize("key", ["a/../b", "./a", "a//b", "a/", "x" * 1024, " ", "%41", "tab\there"])
def test_keys_are_any_text(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert body_of(s3.get_object(Bucket=bucket, Key=key)) == key.encode()
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_key_has_at_most_1024_bytes(s3, bucket):
    with refused("KeyTooLongError", 400):
        s3.put_object(Bucket=bucket, Key="x" * 1025, Body=b"")


def test_what_is_not_there(s3, bucket, name):
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="absent")
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=bucket, Key="absent")
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="absent")
    with pytest.raises(s3.exceptions.NoSuchBucket):
        s3.get_object(Bucket=f"{name}-absent", Key="k")
    with refused("NoSuchBucket", 404):
        s3.put_object(Bucket=f"{name}-absent", Key="k", Body=b"")
    assert s3.delete_object(Bucket=bucket, Key="absent")["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_a_put_may_ask_that_nothing_is_overwritten(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"first", IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"second", IfNoneMatch="*")
    assert body_of(s3.get_object(Bucket=bucket, Key="k")) == b"first"


def test_a_put_may_ask_what_is_overwritten(s3, bucket):
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"first")["ETag"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"second", IfMatch=first)["ETag"]
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"third", IfMatch=first)
    s3.put_object(Bucket=bucket, Key="k", Body=b"third", IfMatch=second)
    with refused("NoSuchKey", 404):
        s3.put_object(Bucket=bucket, Key="absent", Body=b"x", IfMatch=first)


def test_a_get_may_have_conditions(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    s3.get_object(Bucket=bucket, Key="k", IfMatch=etag)
    with refused("PreconditionFailed", 412):
        s3.get_object(Bucket=bucket, Key="k", IfMatch='"other"')
    with refused("304", 304):
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag)
    past = datetime.datetime(2020, 1, 1)
    s3.get_object(Bucket=bucket, Key="k", IfModifiedSince=past)
    with refused("PreconditionFailed", 412):
        s3.get_object(Bucket=bucket, Key="k", IfUnmodifiedSince=past)


@pytest.mark.parametrize("asked, part, content_range", [
    ("bytes=2-4", b"cde", "bytes 2-4/10"), ("bytes=7-", b"hij", "bytes 7-9/10"), ("bytes=-2", b"ij", "bytes 8-9/10"),
    ("bytes=8-99", b"ij", "bytes 8-9/10")])
def test_a_range_is_a_part_of_an_object(s3, bucket, asked, part, content_range):
    s3.put_object(Bucket=bucket, Key="k", Body=b"abcdefghij")
    got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
    assert (body_of(got), got["ContentRange"]) == (part, content_range)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_range_behind_the_end_is_refused(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    with refused("InvalidRange", 416):
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=3-5")


def test_a_copy_takes_metadata_along_or_not(s3, bucket):
    s3.put_object(Bucket=bucket, Key="from ü", Body=b"x", Metadata={"a": "1"}, ContentType="text/plain")
    source = {"Bucket": bucket, "Key": "from ü"}
    s3.copy_object(Bucket=bucket, Key="same", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="other", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
    same, other = (s3.get_object(Bucket=bucket, Key=key) for key in ("same", "other"))
    assert (body_of(same), same["Metadata"], same["ContentType"]) == (b"x", {"a": "1"}, "text/plain")
    assert (body_of(other), other["Metadata"]) == (b"x", {"b": "2"})
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="k", CopySource={"Bucket": bucket, "Key": "absent"})
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=bucket, Key="same", CopySource={"Bucket": bucket, "Key": "same"})


def test_many_objects_are_deleted_at_once(s3, bucket):
    for key in "abc":
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in ("a", "b", "absent")]})
    assert {entry["Key"] for entry in deleted["Deleted"]} == {"a", "b", "absent"}
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "c"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize("algorithm, member", [
    ("CRC32", "ChecksumCRC32"), ("SHA256", "ChecksumSHA256"), ("SHA1", "ChecksumSHA1")])
def test_checksums_are_kept_and_answered(s3, bucket, algorithm, member):
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert put[member] == got[member]
    assert body_of(got) == b"hello"


def test_a_wrong_checksum_is_refused(s3, bucket):
    with refused("BadDigest", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumCRC32="AAAAAA==")
    with refused("BadDigest", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="k")


def test_objects_have_tags(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=1&b=2")
    tags = s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert sorted(tags, key=lambda tag: tag["Key"]) == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "c", "Value": "3"}]
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls_read_and_write(target, bucket, version):
    s3 = target.client("s3", signature_version=version)
    put = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"})
    assert requests.put(put, data=b"by url").status_code == 200
    get = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k", "ResponseContentType": "text/csv"})
    answer = requests.get(get)
    assert (answer.content, answer.headers["Content-Type"]) == (b"by url", "text/csv")


def post(form, body):
    return requests.post(form["url"], data=form["fields"], files={"file": ("a.txt", body)})


def test_a_presigned_form_uploads(s3, bucket):
    form = s3.generate_presigned_post(bucket, "k", Fields={"Content-Type": "text/plain"},
                                      Conditions=[{"Content-Type": "text/plain"}])
    assert post(form, b"by form").status_code == 204
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (body_of(got), got["ContentType"]) == (b"by form", "text/plain")


def test_a_presigned_form_may_leave_the_name_to_the_file(s3, bucket):
    assert post(s3.generate_presigned_post(bucket, "folder/${filename}"), b"x").status_code == 204
    assert body_of(s3.get_object(Bucket=bucket, Key="folder/a.txt")) == b"x"


def test_a_presigned_form_limits_the_size(s3, bucket):
    form = s3.generate_presigned_post(bucket, "k", Conditions=[["content-length-range", 2, 4]])
    answer = post(form, b"12345")
    assert (answer.status_code, "<Code>EntityTooLarge</Code>" in answer.text) == (400, True)
    answer = post(form, b"1")
    assert (answer.status_code, "<Code>EntityTooSmall</Code>" in answer.text) == (400, True)
    assert post(form, b"123").status_code == 204


def test_a_stream_of_unknown_length_is_taken(s3, bucket):
    big = b"0123456789abcdef" * 100_000
    s3.put_object(Bucket=bucket, Key="k", Body=big)
    assert body_of(s3.get_object(Bucket=bucket, Key="k")) == big
