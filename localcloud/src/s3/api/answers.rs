//! What S3 answers for features that no bucket here can have: the answer of a bucket that lacks them.

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};

use super::{Api, check_version, no_acl, owner};
use crate::s3::failure::{custom, failure, unsupported};

impl Api {
    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        self.store.with_bucket(bucket, |_| Ok(()))
    }

    fn lacking<T>(&self, bucket: &str, error: S3Error) -> S3Result<T> {
        self.check_bucket(bucket)?;
        Err(error)
    }

    pub(super) async fn do_get_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<GetBucketVersioningOutput> {
        self.check_bucket(&request.input.bucket)?;
        Ok(GetBucketVersioningOutput::default())
    }

    pub(super) async fn do_put_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<PutBucketVersioningOutput> {
        self.lacking(&request.input.bucket, unsupported("versioning"))
    }

    pub(super) async fn do_get_bucket_acl(
        &self,
        request: S3Request<GetBucketAclInput>,
    ) -> S3Result<GetBucketAclOutput> {
        self.check_bucket(&request.input.bucket)?;
        Ok(GetBucketAclOutput {
            grants: Some(grants()),
            owner: Some(owner()),
        })
    }

    pub(super) async fn do_get_object_acl(
        &self,
        request: S3Request<GetObjectAclInput>,
    ) -> S3Result<GetObjectAclOutput> {
        check_version(request.input.version_id.as_deref())?;
        self.store
            .object(&request.input.bucket, &request.input.key)?;
        Ok(GetObjectAclOutput {
            grants: Some(grants()),
            owner: Some(owner()),
            ..Default::default()
        })
    }

    pub(super) async fn do_put_bucket_acl(
        &self,
        request: S3Request<PutBucketAclInput>,
    ) -> S3Result<PutBucketAclOutput> {
        self.lacking(&request.input.bucket, no_acl())
    }

    pub(super) async fn do_put_object_acl(
        &self,
        request: S3Request<PutObjectAclInput>,
    ) -> S3Result<PutObjectAclOutput> {
        self.store
            .object(&request.input.bucket, &request.input.key)?;
        Err(no_acl())
    }

    pub(super) async fn do_get_policy(
        &self,
        request: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<GetBucketPolicyOutput> {
        self.lacking(
            &request.input.bucket,
            failure(S3ErrorCode::NoSuchBucketPolicy),
        )
    }

    pub(super) async fn do_get_cors(
        &self,
        request: S3Request<GetBucketCorsInput>,
    ) -> S3Result<GetBucketCorsOutput> {
        self.lacking(
            &request.input.bucket,
            failure(S3ErrorCode::NoSuchCORSConfiguration),
        )
    }

    pub(super) async fn do_get_website(
        &self,
        request: S3Request<GetBucketWebsiteInput>,
    ) -> S3Result<GetBucketWebsiteOutput> {
        self.lacking(
            &request.input.bucket,
            failure(S3ErrorCode::NoSuchWebsiteConfiguration),
        )
    }

    pub(super) async fn do_get_lifecycle(
        &self,
        request: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<GetBucketLifecycleConfigurationOutput> {
        self.lacking(
            &request.input.bucket,
            failure(S3ErrorCode::NoSuchLifecycleConfiguration),
        )
    }

    pub(super) async fn do_get_encryption(
        &self,
        request: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<GetBucketEncryptionOutput> {
        let error = custom(
            StatusCode::NOT_FOUND,
            "ServerSideEncryptionConfigurationNotFoundError",
            "The server side encryption configuration was not found",
        );
        self.lacking(&request.input.bucket, error)
    }

    pub(super) async fn do_get_replication(
        &self,
        request: S3Request<GetBucketReplicationInput>,
    ) -> S3Result<GetBucketReplicationOutput> {
        self.lacking(
            &request.input.bucket,
            failure(S3ErrorCode::ReplicationConfigurationNotFoundError),
        )
    }

    pub(super) async fn do_get_logging(
        &self,
        request: S3Request<GetBucketLoggingInput>,
    ) -> S3Result<GetBucketLoggingOutput> {
        self.check_bucket(&request.input.bucket)?;
        Ok(GetBucketLoggingOutput::default())
    }

    pub(super) async fn do_get_request_payment(
        &self,
        request: S3Request<GetBucketRequestPaymentInput>,
    ) -> S3Result<GetBucketRequestPaymentOutput> {
        self.check_bucket(&request.input.bucket)?;
        Ok(GetBucketRequestPaymentOutput {
            payer: Some(Payer::from_static(Payer::BUCKET_OWNER)),
        })
    }

    pub(super) async fn do_get_accelerate(
        &self,
        request: S3Request<GetBucketAccelerateConfigurationInput>,
    ) -> S3Result<GetBucketAccelerateConfigurationOutput> {
        self.check_bucket(&request.input.bucket)?;
        Ok(GetBucketAccelerateConfigurationOutput::default())
    }

    pub(super) async fn do_get_access_block(
        &self,
        request: S3Request<GetPublicAccessBlockInput>,
    ) -> S3Result<GetPublicAccessBlockOutput> {
        let error = custom(
            StatusCode::NOT_FOUND,
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
        );
        self.lacking(&request.input.bucket, error)
    }

    pub(super) async fn do_get_ownership(
        &self,
        request: S3Request<GetBucketOwnershipControlsInput>,
    ) -> S3Result<GetBucketOwnershipControlsOutput> {
        self.check_bucket(&request.input.bucket)?;
        let rule = OwnershipControlsRule {
            object_ownership: ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED),
        };
        Ok(GetBucketOwnershipControlsOutput {
            ownership_controls: Some(OwnershipControls { rules: vec![rule] }),
        })
    }

    pub(super) async fn do_get_object_lock(
        &self,
        request: S3Request<GetObjectLockConfigurationInput>,
    ) -> S3Result<GetObjectLockConfigurationOutput> {
        let error = custom(
            StatusCode::NOT_FOUND,
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket",
        );
        self.lacking(&request.input.bucket, error)
    }
}

/// The owner may do all, others nothing.
fn grants() -> Vec<Grant> {
    vec![Grant {
        grantee: Some(Grantee {
            display_name: None,
            email_address: None,
            id: owner().id,
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }]
}
