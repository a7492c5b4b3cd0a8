//! Operations on buckets.

use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::input::check_acl;
use super::paging::{decode_token, encode_token, truncate};
use super::{Api, context, owner};
use crate::s3::conditions::to_timestamp;
use crate::s3::failure::{failure, failure_with, invalid_argument, unsupported};
use crate::s3::store::{BucketSettings, Tags};

/// The region whose buckets have no location constraint. Creating a bucket there is idempotent.
const US_EAST_1: &str = "us-east-1";
const MAX_BUCKETS_PER_PAGE: i32 = 10_000;

impl Api {
    pub(super) async fn do_create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<CreateBucketOutput> {
        let input = request.input;
        let grants = input.grant_full_control.is_some()
            || input.grant_read.is_some()
            || input.grant_read_acp.is_some()
            || input.grant_write.is_some()
            || input.grant_write_acp.is_some();
        check_acl(input.acl.as_ref().map(BucketCannedACL::as_str), grants)?;
        if input.object_lock_enabled_for_bucket == Some(true) {
            return Err(unsupported("object lock"));
        }
        let wanted = input
            .create_bucket_configuration
            .and_then(|configuration| configuration.location_constraint)
            .map(|constraint| constraint.as_str().to_owned());
        // AWS's endpoint of a region creates buckets in that region only, the one of us-east-1 anywhere.
        let endpoint = context(&request.extensions)
            .region
            .unwrap_or_else(|| self.region.clone());
        let region = match wanted.as_deref().filter(|wanted| !wanted.is_empty()) {
            None if endpoint == US_EAST_1 => US_EAST_1.to_owned(),
            None => return Err(failure(S3ErrorCode::IllegalLocationConstraintException)),
            Some(US_EAST_1) => return Err(failure(S3ErrorCode::InvalidLocationConstraint)),
            Some(wanted) if endpoint == US_EAST_1 || endpoint == wanted => wanted.to_owned(),
            Some(wanted) => {
                return Err(failure_with(
                    S3ErrorCode::IllegalLocationConstraintException,
                    format!(
                        "The {wanted} location constraint is incompatible for the region specific endpoint this request was sent to."
                    ),
                ));
            }
        };
        let settings = BucketSettings {
            created: self.store.now(),
            region,
            tags: Tags::new(),
            notifications: Vec::new(),
        };
        match self.store.create_bucket(&input.bucket, settings) {
            Err(error)
                if *error.code() == S3ErrorCode::BucketAlreadyOwnedByYou
                    && endpoint == US_EAST_1 => {}
            result => result?,
        }
        Ok(CreateBucketOutput {
            location: Some(format!("/{}", input.bucket)),
        })
    }

    pub(super) async fn do_head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<HeadBucketOutput> {
        let region = self.store.with_bucket(&request.input.bucket, |bucket| {
            Ok(bucket.settings.region.clone())
        })?;
        Ok(HeadBucketOutput {
            access_point_alias: Some(false),
            bucket_region: Some(region),
            ..Default::default()
        })
    }

    pub(super) async fn do_delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<DeleteBucketOutput> {
        self.store.delete_bucket(&request.input.bucket)?;
        Ok(DeleteBucketOutput::default())
    }

    pub(super) async fn do_list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<ListBucketsOutput> {
        let input = request.input;
        let size = input.max_buckets.unwrap_or(MAX_BUCKETS_PER_PAGE);
        if !(1..=MAX_BUCKETS_PER_PAGE).contains(&size) {
            return Err(invalid_argument(
                "Argument max-buckets must be an integer between 1 and 10000",
            ));
        }
        let after = match input.continuation_token.as_deref() {
            None | Some("") => String::new(),
            Some(token) => decode_token(token)?,
        };
        let prefix = input.prefix.clone().unwrap_or_default();
        let mut buckets: Vec<_> = self
            .store
            .buckets()
            .into_iter()
            .filter(|(name, settings)| {
                let region = input.bucket_region.as_deref();
                name.starts_with(&prefix)
                    && *name > after
                    && region.is_none_or(|region| region == settings.region)
            })
            .collect();
        let truncated = truncate(&mut buckets, size);
        let token = buckets
            .last()
            .filter(|_| truncated)
            .map(|(name, _)| encode_token(name));
        // S3 sends the regions only to clients that ask for pages.
        let paged = input.max_buckets.is_some() || input.prefix.is_some();
        let listed = buckets.into_iter().map(|(name, settings)| Bucket {
            bucket_region: paged.then_some(settings.region),
            creation_date: Some(to_timestamp(settings.created)),
            name: Some(name),
        });
        Ok(ListBucketsOutput {
            buckets: Some(listed.collect()),
            continuation_token: token,
            owner: Some(owner()),
            prefix: input.prefix,
        })
    }

    pub(super) async fn do_get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<GetBucketLocationOutput> {
        self.store.with_bucket(&request.input.bucket, |bucket| {
            let region = bucket.settings.region.clone();
            Ok(GetBucketLocationOutput {
                location_constraint: (region != US_EAST_1).then(|| region.into()),
            })
        })
    }
}
