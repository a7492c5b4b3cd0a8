//! The accesses of S3's calls.
//!
//! Source: "Actions, resources, and condition keys for Amazon S3",
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>, and "Required permissions for
//! Amazon S3 API operations", <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>.

#[cfg(test)]
mod tests;

use http::HeaderMap;
use s3s::dto::CopySource;

use crate::iam::Access;

/// One request to S3.
#[derive(Debug)]
pub struct S3Call<'a> {
    /// As S3 names it.
    pub operation: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
}

/// Operations on a bucket, each with its action unless that has the same name.
const OF_BUCKETS: &str = "\
    CreateBucket DeleteBucket DeleteBucketTagging=PutBucketTagging \
    GetBucketAccelerateConfiguration=GetAccelerateConfiguration GetBucketAcl GetBucketCors=GetBucketCORS \
    GetBucketEncryption=GetEncryptionConfiguration GetBucketLifecycleConfiguration=GetLifecycleConfiguration \
    GetBucketLocation GetBucketLogging GetBucketNotificationConfiguration=GetBucketNotification \
    GetBucketOwnershipControls GetBucketPolicy GetBucketReplication=GetReplicationConfiguration GetBucketRequestPayment \
    GetBucketTagging GetBucketVersioning GetBucketWebsite GetObjectLockConfiguration=GetBucketObjectLockConfiguration \
    GetPublicAccessBlock=GetBucketPublicAccessBlock HeadBucket=ListBucket \
    ListMultipartUploads=ListBucketMultipartUploads ListObjectVersions=ListBucketVersions ListObjects=ListBucket \
    ListObjectsV2=ListBucket PutBucketAcl PutBucketNotificationConfiguration=PutBucketNotification PutBucketTagging \
    PutBucketVersioning PutBucketPolicy DeleteBucketPolicy PutBucketCors=PutBucketCORS \
    PutBucketLifecycleConfiguration=PutLifecycleConfiguration";
/// Operations on an object and their actions. Those of other versions have actions of their own.
const OF_OBJECTS: &str = "\
    AbortMultipartUpload CompleteMultipartUpload=PutObject CopyObject=PutObject CreateMultipartUpload=PutObject \
    DeleteObject DeleteObjectTagging GetObject GetObjectAcl GetObjectAttributes=GetObject GetObjectTagging \
    HeadObject=GetObject ListParts=ListMultipartUploadParts PutObject PutObjectAcl PutObjectTagging UploadPart=PutObject";

/// Returns the accesses that a request needs. A request that is not known here needs all actions. DeleteObjects needs
/// those of `delete_object` for its keys, which its body has.
pub fn accesses(call: &S3Call<'_>) -> Vec<Access> {
    let find = |table: &'static str| {
        let mut rows = table
            .split(' ')
            .map(|row| row.split_once('=').unwrap_or((row, row)));
        let row = rows.find(|(name, _)| *name == call.operation);
        row.map(|(_, action)| action)
    };
    if call.operation == "ListBuckets" {
        return vec![Access::new("s3:ListAllMyBuckets", "*")];
    }
    if call.operation == "DeleteObjects" {
        return Vec::new();
    }
    if let Some(action) = find(OF_BUCKETS) {
        let access = Access::new(format!("s3:{action}"), bucket_arn(call.bucket));
        let prefix = parameter(call.query, "prefix");
        return vec![match prefix.filter(|_| action == "ListBucket") {
            Some(prefix) => access.with("s3:prefix", prefix),
            None => access,
        }];
    }
    let of_object =
        |action: &str| Access::new(format!("s3:{action}"), object_arn(call.bucket, call.key));
    if call.operation == "UploadPartCopy" {
        return source(call.headers)
            .into_iter()
            .chain([of_object("PutObject")])
            .collect();
    }
    let Some(action) = find(OF_OBJECTS) else {
        return vec![Access::new("s3:*", "*")];
    };
    let action = match action {
        "GetObject" | "DeleteObject" if parameter(call.query, "versionId").is_some() => {
            format!("{action}Version")
        }
        action => action.to_owned(),
    };
    let mut accesses = vec![of_object(&action)];
    match call.operation {
        "CopyObject" => accesses.extend(source(call.headers)),
        "GetObjectAttributes" => accesses.push(of_object("GetObjectAttributes")),
        _ => {}
    }
    // The condition shows whether the object is there.
    if matches!(call.operation, "PutObject" | "CopyObject") && call.headers.contains_key("if-match")
    {
        accesses.push(of_object("GetObject"));
    }
    if action == "PutObject" {
        let has = |name: &str| call.headers.contains_key(name);
        let of_headers = [
            ("x-amz-tagging", "PutObjectTagging"),
            ("x-amz-acl", "PutObjectAcl"),
        ];
        let needed = of_headers.into_iter().filter(|(name, _)| has(name));
        accesses.extend(needed.map(|(_, action)| of_object(action)));
    }
    accesses
}

fn get_object(bucket: &str, key: &str) -> Access {
    Access::new("s3:GetObject", object_arn(bucket, key))
}

/// Returns the access that deletes one key of DeleteObjects.
pub fn delete_object(bucket: &str, key: &str) -> Access {
    Access::new("s3:DeleteObject", object_arn(bucket, key))
}

/// Returns the access without which S3 denies a request for a missing key instead of telling that it is missing.
pub fn list_bucket(bucket: &str) -> Access {
    Access::new("s3:ListBucket", bucket_arn(bucket))
}

fn source(headers: &HeaderMap) -> Option<Access> {
    let source = headers.get("x-amz-copy-source")?.to_str().ok();
    // The parser that carries out the copy, so that both read the same object.
    let source = source.and_then(|source| CopySource::parse(source).ok());
    Some(match source {
        Some(CopySource::Bucket { bucket, key, .. }) => get_object(&bucket, &key),
        // The copy itself is refused.
        _ => Access::new("s3:GetObject", "*"),
    })
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    let pair = pairs.into_iter().find(|(key, _)| key == name);
    pair.map(|(_, value)| value)
}

fn bucket_arn(bucket: &str) -> String {
    format!("arn:aws:s3:::{bucket}")
}

fn object_arn(bucket: &str, key: &str) -> String {
    format!("arn:aws:s3:::{bucket}/{key}")
}
