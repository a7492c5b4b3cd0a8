//! S3's operations over the store, behind the protocol of `s3s`.

mod answers;
mod buckets;
mod copies;
mod lists;
mod objects;
mod parts;
mod reading;
mod tags;
mod uploads;

use std::sync::Arc;

use http::Extensions;
use s3s::dto::*;
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result};

use super::caller::Caller;
use super::failure::{custom, failure, invalid_argument, unsupported};
use super::store::Store;
use crate::sqs::Sqs;

/// The canonical user who owns every bucket and object.
pub const OWNER_ID: &str = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a";

/// S3's operations.
#[derive(Debug, Clone)]
pub struct Api {
    pub(super) store: Arc<Store>,
    pub(super) sqs: Arc<Sqs>,
    pub(super) region: String,
}

/// Answers an operation by the method that does it, or with S3's answer for what no bucket here can have.
macro_rules! operations {
    ($($name:ident($input:ty) -> $output:ty = $method:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(
                async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    self.$method(request).await.map(S3Response::new)
                }
            )*
        }
    };
}

operations! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput = do_create_bucket;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = do_head_bucket;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = do_delete_bucket;
    list_buckets(ListBucketsInput) -> ListBucketsOutput = do_list_buckets;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = do_get_bucket_location;
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput)
        -> GetBucketNotificationConfigurationOutput = do_get_notifications;
    put_bucket_notification_configuration(PutBucketNotificationConfigurationInput)
        -> PutBucketNotificationConfigurationOutput = do_put_notifications;
    put_object(PutObjectInput) -> PutObjectOutput = do_put_object;
    get_object(GetObjectInput) -> GetObjectOutput = do_get_object;
    head_object(HeadObjectInput) -> HeadObjectOutput = do_head_object;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput = do_get_attributes;
    copy_object(CopyObjectInput) -> CopyObjectOutput = do_copy_object;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = do_delete_object;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = do_delete_objects;
    list_objects(ListObjectsInput) -> ListObjectsOutput = do_list_objects;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = do_list_objects_v2;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = do_list_versions;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = do_create_upload;
    upload_part(UploadPartInput) -> UploadPartOutput = do_upload_part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = do_upload_part_copy;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = do_complete_upload;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = do_abort_upload;
    list_parts(ListPartsInput) -> ListPartsOutput = do_list_parts;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = do_list_uploads;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = do_get_object_tags;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput = do_put_object_tags;
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput = do_delete_object_tags;
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput = do_get_bucket_tags;
    put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput = do_put_bucket_tags;
    delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput = do_delete_bucket_tags;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = do_get_versioning;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = do_put_versioning;
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput = do_get_bucket_acl;
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput = do_get_object_acl;
    put_bucket_acl(PutBucketAclInput) -> PutBucketAclOutput = do_put_bucket_acl;
    put_object_acl(PutObjectAclInput) -> PutObjectAclOutput = do_put_object_acl;
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput = do_get_policy;
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput = do_get_cors;
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput = do_get_website;
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput = do_get_lifecycle;
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput = do_get_encryption;
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput = do_get_replication;
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput = do_get_logging;
    get_bucket_request_payment(GetBucketRequestPaymentInput)
        -> GetBucketRequestPaymentOutput = do_get_request_payment;
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput)
        -> GetBucketAccelerateConfigurationOutput = do_get_accelerate;
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput = do_get_access_block;
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput)
        -> GetBucketOwnershipControlsOutput = do_get_ownership;
    get_object_lock_configuration(GetObjectLockConfigurationInput)
        -> GetObjectLockConfigurationOutput = do_get_object_lock;
}

/// Who calls; the service has noted it.
fn caller(extensions: &Extensions) -> Caller {
    extensions.get().cloned().unwrap_or_default()
}

fn owner() -> Owner {
    Owner {
        display_name: None,
        id: Some(OWNER_ID.to_owned()),
    }
}

/// A bucket that never was versioned has only `null` versions.
fn check_version(version_id: Option<&str>) -> S3Result<()> {
    match version_id {
        None | Some("null") => Ok(()),
        Some(_) => Err(invalid_argument("Invalid version id specified")),
    }
}

/// What an access control list may say where, as is the rule, the bucket's owner owns all.
fn check_acl(acl: Option<&str>, grants: bool) -> S3Result<()> {
    let harmless = ["private", "bucket-owner-full-control", "bucket-owner-read"];
    if grants || acl.is_some_and(|acl| !harmless.contains(&acl)) {
        return Err(no_acl());
    }
    Ok(())
}

fn no_acl() -> s3s::S3Error {
    custom(
        http::StatusCode::BAD_REQUEST,
        "AccessControlListNotSupported",
        "The bucket does not allow ACLs",
    )
}

fn check_encryption(customer_key: bool, server_side: Option<&str>) -> S3Result<()> {
    if customer_key {
        return Err(unsupported("encryption with the customer's keys"));
    }
    match server_side {
        None | Some("AES256") => Ok(()),
        Some("aws:kms" | "aws:kms:dsse") => Err(unsupported("encryption with keys of KMS")),
        Some(_) => Err(failure(S3ErrorCode::InvalidEncryptionAlgorithmError)),
    }
}
