"""Buckets, and what is in them."""

import pytest
from conftest import refused

KEYS = ["a", "photos/2025/x", "photos/2026/y", "photos/z", "zz"]


@pytest.fixture
def filled(s3, bucket):
    for key in reversed(KEYS):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


def keys(answer):
    return [found["Key"] for found in answer.get("Contents", [])]


def test_buckets_are_made_listed_and_deleted(s3, name):
    s3.create_bucket(Bucket=name)
    assert name in [found["Name"] for found in s3.list_buckets()["Buckets"]]
    assert s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.put_object(Bucket=name, Key="k", Body=b"")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=name)
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    with refused("404", 404):
        s3.head_bucket(Bucket=name)
    with refused("NoSuchBucket", 404):
        s3.delete_bucket(Bucket=name)


def test_making_ones_own_bucket_again_is_fine_in_us_east_1(s3, bucket):
    s3.create_bucket(Bucket=bucket)


@pytest.mark.parametrize("bad", ["ab", "Upper", "under_score", "192.168.1.1", "x" * 64])
def test_bucket_names_are_limited(s3, bad):
    with refused("InvalidBucketName", 400):
        s3.create_bucket(Bucket=bad)


def test_objects_are_listed_in_order_of_their_keys(s3, filled):
    answer = s3.list_objects_v2(Bucket=filled)
    assert keys(answer) == KEYS
    assert (answer["KeyCount"], answer["IsTruncated"], answer["Name"]) == (5, False, filled)
    first = answer["Contents"][0]
    assert (first["Size"], first["StorageClass"]) == (1, "STANDARD")
    assert first["ETag"] == s3.head_object(Bucket=filled, Key="a")["ETag"]


def test_a_delimiter_folds_what_has_a_prefix_in_common(s3, filled):
    answer = s3.list_objects_v2(Bucket=filled, Delimiter="/")
    assert keys(answer) == ["a", "zz"]
    assert [common["Prefix"] for common in answer["CommonPrefixes"]] == ["photos/"]
    answer = s3.list_objects_v2(Bucket=filled, Prefix="photos/", Delimiter="/")
    assert keys(answer) == ["photos/z"]
    assert [common["Prefix"] for common in answer["CommonPrefixes"]] == ["photos/2025/", "photos/2026/"]


def test_listings_come_in_pages(s3, filled):
    page = s3.list_objects_v2(Bucket=filled, MaxKeys=2)
    assert (keys(page), page["IsTruncated"], page["MaxKeys"]) == (KEYS[:2], True, 2)
    rest = s3.list_objects_v2(Bucket=filled, ContinuationToken=page["NextContinuationToken"])
    assert (keys(rest), rest["IsTruncated"]) == (KEYS[2:], False)
    paginator = s3.get_paginator("list_objects_v2")
    pages = paginator.paginate(Bucket=filled, Delimiter="/", PaginationConfig={"PageSize": 1})
    found = [keys(page) or [common["Prefix"] for common in page["CommonPrefixes"]] for page in pages]
    assert found == [["a"], ["photos/"], ["zz"]]


def test_a_listing_may_start_after_a_key(s3, filled):
    assert keys(s3.list_objects_v2(Bucket=filled, StartAfter="photos/2026/y")) == ["photos/z", "zz"]


def test_the_older_listing_has_markers(s3, filled):
    page = s3.list_objects(Bucket=filled, MaxKeys=2, Delimiter="/")
    assert (keys(page), [common["Prefix"] for common in page["CommonPrefixes"]]) == (["a"], ["photos/"])
    assert (page["IsTruncated"], page["NextMarker"]) == (True, "photos/")
    assert keys(s3.list_objects(Bucket=filled, Marker=page["NextMarker"], Delimiter="/")) == ["zz"]


def test_odd_keys_are_listed_as_they_are(s3, bucket):
    odd = ["<&>\"'", "a b+c", "größe", "newline\n", "percent%20"]
    for key in odd:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert keys(s3.list_objects_v2(Bucket=bucket)) == sorted(odd, key=str.encode)


def test_a_bucket_without_versions_says_so(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)


def test_objects_of_a_bucket_without_versions_have_the_version_null(s3, filled):
    answer = s3.list_object_versions(Bucket=filled)
    assert [(found["Key"], found["VersionId"], found["IsLatest"]) for found in answer["Versions"]] == [
        (key, "null", True) for key in KEYS]
    assert "DeleteMarkers" not in answer
    page = s3.list_object_versions(Bucket=filled, Prefix="photos/", Delimiter="/")
    assert [found["Key"] for found in page["Versions"]] == ["photos/z"]


def test_buckets_have_tags(s3, bucket):
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
    tags = [{"Key": "a", "Value": "1"}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
