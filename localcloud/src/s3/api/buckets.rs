//! Buckets themselves, and whom they notify.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::{Api, caller, check_acl, owner};
use crate::s3::conditions::shown_time;
use crate::s3::events::no_destination;
use crate::s3::failure::{failure, failure_with, invalid_argument, unsupported};
use crate::s3::notifications;
use crate::s3::store::{Settings, Tags};

/// The region whose buckets have no location, and where a bucket may be created twice.
const US_EAST_1: &str = "us-east-1";
const MOST_BUCKETS_PER_PAGE: i32 = 10_000;

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
        // As with AWS, whose endpoint in a region creates buckets there alone, while us-east-1's creates them anywhere.
        let endpoint = caller(&request.extensions)
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
        let settings = Settings {
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
        let most = input.max_buckets.unwrap_or(MOST_BUCKETS_PER_PAGE);
        if !(1..=MOST_BUCKETS_PER_PAGE).contains(&most) {
            return Err(invalid_argument(
                "Argument max-buckets must be an integer between 1 and 10000",
            ));
        }
        let after = match &input.continuation_token {
            Some(token) => URL_SAFE
                .decode(token)
                .ok()
                .and_then(|name| String::from_utf8(name).ok())
                .ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))?,
            None => String::new(),
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
        let truncated = buckets.len() > most as usize;
        buckets.truncate(most as usize);
        let token = buckets
            .last()
            .filter(|_| truncated)
            .map(|(name, _)| URL_SAFE.encode(name));
        // Only a client that asks for pages is told the regions.
        let paged = input.max_buckets.is_some() || input.prefix.is_some();
        let shown = buckets.into_iter().map(|(name, settings)| Bucket {
            bucket_region: paged.then_some(settings.region),
            creation_date: Some(shown_time(settings.created)),
            name: Some(name),
        });
        Ok(ListBucketsOutput {
            buckets: Some(shown.collect()),
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

    pub(super) async fn do_get_notifications(
        &self,
        request: S3Request<GetBucketNotificationConfigurationInput>,
    ) -> S3Result<GetBucketNotificationConfigurationOutput> {
        self.store.with_bucket(&request.input.bucket, |bucket| {
            let notifications = bucket.settings.notifications.iter().cloned();
            let shown: Vec<_> = notifications
                .map(notifications::QueueNotification::shown)
                .collect();
            Ok(GetBucketNotificationConfigurationOutput {
                queue_configurations: (!shown.is_empty()).then_some(shown),
                ..Default::default()
            })
        })
    }

    pub(super) async fn do_put_notifications(
        &self,
        request: S3Request<PutBucketNotificationConfigurationInput>,
    ) -> S3Result<PutBucketNotificationConfigurationOutput> {
        let input = request.input;
        let caller = caller(&request.extensions);
        self.store.with_bucket(&input.bucket, |_| Ok(()))?;
        let notifications = notifications::read(input.notification_configuration)?;
        if input.skip_destination_validation != Some(true) {
            let mut queues = notifications.iter().map(|one| one.queue_arn.as_str());
            if queues.any(|queue| !self.sqs.has_queue(queue)) {
                return Err(no_destination());
            }
            for notification in &notifications {
                self.announce_test(&input.bucket, &notification.queue_arn, &caller)
                    .await?;
            }
        }
        self.store.change_settings(&input.bucket, |settings| {
            settings.notifications = notifications;
        })?;
        Ok(PutBucketNotificationConfigurationOutput::default())
    }
}
