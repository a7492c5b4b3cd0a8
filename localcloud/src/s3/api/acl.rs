//! Access control lists, which are always those of a bucket whose owner owns all objects.

use s3s::dto::*;
use s3s::{S3Request, S3Result};

use super::input::{acl_not_supported, check_version};
use super::{Api, owner};

impl Api {
    pub(super) async fn do_get_object_acl(
        &self,
        request: S3Request<GetObjectAclInput>,
    ) -> S3Result<GetObjectAclOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        self.store.object(&input.bucket, &input.key)?;
        Ok(GetObjectAclOutput {
            grants: Some(owner_grants()),
            owner: Some(owner()),
            ..Default::default()
        })
    }

    pub(super) async fn do_put_object_acl(
        &self,
        request: S3Request<PutObjectAclInput>,
    ) -> S3Result<PutObjectAclOutput> {
        let input = request.input;
        self.store.object(&input.bucket, &input.key)?;
        Err(acl_not_supported())
    }
}

/// Returns the grant of full control to the owner.
pub fn owner_grants() -> Vec<Grant> {
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
