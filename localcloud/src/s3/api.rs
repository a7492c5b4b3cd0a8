//! S3's operations over the store.

mod acl;
mod buckets;
mod completion;
mod copies;
mod input;
mod lists;
mod notifications;
mod objects;
mod paging;
mod parts;
mod reads;
mod tags;
mod uploads;

use std::sync::Arc;

use http::{Extensions, StatusCode};
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::accesses::list_bucket;
use super::context::RequestContext;
use super::events::ObjectEvent;
use super::failure::{custom, failure, internal, unsupported};
use super::receive::ReceivedBody;
use super::staging::StagedFile;
use super::store::{Description, Object as StoredObject, SealedFile, Store, Tags};
use super::{OWNER_ID, SignedTarget, access_denied};
use crate::iam::{Caller, Iam};
use crate::links::EventTarget;
use acl::owner_grants;
use input::acl_not_supported;

/// S3's operations.
#[derive(Debug, Clone)]
pub struct Api {
    pub(super) store: Arc<Store>,
    pub(super) queues: Arc<dyn EventTarget>,
    pub(super) functions: Option<Arc<dyn EventTarget>>,
    pub(super) region: String,
    pub(super) iam: Arc<Iam>,
}

/// Implements each operation by a method. The operations after `@absent` concern features that no bucket here can
/// have: they check that the bucket exists and return what S3 returns for a bucket without the feature.
macro_rules! operations {
    (
        $($name:ident($input:ty) -> $output:ty = $method:ident;)*
        @absent
        $($absent:ident($absent_input:ty) -> $absent_output:ty = $result:expr;)*
    ) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(
                async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    let caller = role(&request);
                    let result = self.$method(request).await;
                    let result = result.map_err(|error| self.hide_missing_key(error, caller));
                    result.map(S3Response::new)
                }
            )*
            $(
                async fn $absent(
                    &self,
                    request: S3Request<$absent_input>,
                ) -> S3Result<S3Response<$absent_output>> {
                    self.check_bucket(&request.input.bucket)?;
                    $result.map(S3Response::new)
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
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput = do_get_object_acl;
    put_object_acl(PutObjectAclInput) -> PutObjectAclOutput = do_put_object_acl;
    @absent
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = Ok(Default::default());
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = Err(unsupported("versioning"));
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput
        = Ok(GetBucketAclOutput { grants: Some(owner_grants()), owner: Some(owner()) });
    put_bucket_acl(PutBucketAclInput) -> PutBucketAclOutput = Err(acl_not_supported());
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput = Err(failure(S3ErrorCode::NoSuchBucketPolicy));
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput = Err(failure(S3ErrorCode::NoSuchCORSConfiguration));
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput
        = Err(failure(S3ErrorCode::NoSuchWebsiteConfiguration));
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput
        = Err(failure(S3ErrorCode::NoSuchLifecycleConfiguration));
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput = Err(custom(
        StatusCode::NOT_FOUND,
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found",
    ));
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput
        = Err(failure(S3ErrorCode::ReplicationConfigurationNotFoundError));
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput = Ok(Default::default());
    get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput
        = Ok(GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(Payer::BUCKET_OWNER)) });
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput)
        -> GetBucketAccelerateConfigurationOutput = Ok(Default::default());
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput = Err(custom(
        StatusCode::NOT_FOUND,
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found",
    ));
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput
        = Ok(GetBucketOwnershipControlsOutput {
            ownership_controls: Some(OwnershipControls {
                rules: vec![OwnershipControlsRule {
                    object_ownership: ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED),
                }],
            }),
        });
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput = Err(custom(
        StatusCode::NOT_FOUND,
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
    ));
}

impl Api {
    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        self.store.with_bucket(bucket, |_| Ok(()))
    }

    /// Returns AccessDenied instead of NoSuchKey to a role that may not list the bucket.
    fn hide_missing_key(&self, error: S3Error, caller: Option<(Caller, String)>) -> S3Error {
        let (Some((caller, bucket)), S3ErrorCode::NoSuchKey) = (caller, error.code()) else {
            return error;
        };
        match self.iam.authorize(&caller, &[list_bucket(&bucket)]) {
            Ok(()) => error,
            Err(denied) => access_denied(&denied),
        }
    }

    /// Creates a new object of a body that has arrived.
    fn new_object(
        &self,
        key: &str,
        body: &ReceivedBody,
        description: Description,
        tags: Tags,
    ) -> StoredObject {
        StoredObject {
            key: key.to_owned(),
            number: self.store.number(),
            size: body.size,
            etag: body.etag.clone(),
            modified: self.store.now(),
            description,
            tags,
            checksum: body.checksum.clone(),
            parts: Vec::new(),
        }
    }

    /// Completes an object's file, stores it by `put`, which returns the event's sequencer, and notifies the bucket's
    /// queues.
    async fn store_object(
        &self,
        bucket: &str,
        object: &StoredObject,
        staged: StagedFile,
        event: &'static str,
        extensions: &Extensions,
        put: impl FnOnce(SealedFile) -> S3Result<u64>,
    ) -> S3Result<()> {
        let file = staged.seal(object).map_err(internal)?;
        let event = ObjectEvent {
            name: event,
            bucket,
            key: &object.key,
            object: Some(object),
            sequencer: put(file)?,
        };
        self.notify(&event, extensions).await;
        Ok(())
    }
}

/// Returns the caller of a request and its bucket, if a role makes it.
fn role<T>(request: &S3Request<T>) -> Option<(Caller, String)> {
    let caller = request.extensions.get::<Caller>();
    let caller = caller.filter(|caller| matches!(caller, Caller::Role(_)))?;
    let target = request.extensions.get::<SignedTarget>()?;
    Some((caller.clone(), target.0.bucket.clone()))
}

/// Returns the context that the service adds to every request.
fn context(extensions: &Extensions) -> RequestContext {
    extensions.get().cloned().unwrap_or_default()
}

fn owner() -> Owner {
    Owner {
        display_name: None,
        id: Some(OWNER_ID.to_owned()),
    }
}

fn initiator() -> Initiator {
    Initiator {
        display_name: None,
        id: Some(OWNER_ID.to_owned()),
    }
}
