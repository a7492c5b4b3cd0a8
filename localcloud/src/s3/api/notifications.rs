//! Notification configurations of buckets, and sending events to their queues.

use http::Extensions;
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result};
use tracing::warn;

use super::{Api, context};
use crate::lambda::function_name;
use crate::s3::events::{Event, test_message};
use crate::s3::failure::invalid_argument;
use crate::s3::notifications::{self, Notification, NotificationLists};

impl Api {
    pub(super) async fn do_get_notifications(
        &self,
        request: S3Request<GetBucketNotificationConfigurationInput>,
    ) -> S3Result<GetBucketNotificationConfigurationOutput> {
        self.store.with_bucket(&request.input.bucket, |bucket| {
            let mut shown = NotificationLists::default();
            for notification in bucket.settings.notifications.iter().cloned() {
                notification.add_to(&mut shown);
            }
            let NotificationLists { queues, functions } = shown;
            Ok(GetBucketNotificationConfigurationOutput {
                queue_configurations: (!queues.is_empty()).then_some(queues),
                lambda_function_configurations: (!functions.is_empty()).then_some(functions),
                ..Default::default()
            })
        })
    }

    pub(super) async fn do_put_notifications(
        &self,
        request: S3Request<PutBucketNotificationConfigurationInput>,
    ) -> S3Result<PutBucketNotificationConfigurationOutput> {
        let input = request.input;
        let context = context(&request.extensions);
        self.check_bucket(&input.bucket)?;
        let notifications = notifications::parse(input.notification_configuration)?;
        if input.skip_destination_validation != Some(true) {
            let is_valid = |one: &Notification| match &self.lambda {
                Some(lambda) if one.is_function() => {
                    lambda.allows_bucket(&one.target_arn, &input.bucket)
                }
                _ => self.sqs.has_queue(&one.target_arn),
            };
            if !notifications.iter().all(is_valid) {
                return Err(invalid_destination());
            }
            // Functions get no test message.
            for notification in notifications.iter().filter(|one| !one.is_function()) {
                let message = test_message(&input.bucket, &context, self.store.now());
                let sent = self.sqs.deliver_event(&notification.target_arn, message);
                sent.await.map_err(|_| invalid_destination())?;
            }
        }
        self.store.change_settings(&input.bucket, |settings| {
            settings.notifications = notifications;
        })?;
        Ok(PutBucketNotificationConfigurationOutput::default())
    }

    /// Sends an event to the queues and functions that the bucket's notifications select. One that is deleted loses it.
    pub(super) async fn notify(&self, event: &Event<'_>, extensions: &Extensions) {
        let selected: Vec<Notification> = self
            .store
            .with_bucket(event.bucket, |bucket| {
                let all = bucket.settings.notifications.iter();
                let selected = all.filter(|one| one.selects(event.name, event.key));
                Ok(selected.cloned().collect())
            })
            .unwrap_or_default();
        if selected.is_empty() {
            return;
        }
        let context = context(extensions);
        for notification in selected {
            let target = &notification.target_arn;
            let now = self.store.now();
            let message = event.message(&notification.id, &self.region, &context, now);
            let lost = match &self.lambda {
                Some(lambda) if notification.is_function() => {
                    let accepted = lambda.enqueue(function_name(target), message.into());
                    accepted.err().map(|error| error.to_string())
                }
                _ => {
                    let sent = self.sqs.deliver_event(target, message).await;
                    sent.err().map(|error| error.to_string())
                }
            };
            if let Some(error) = lost {
                warn!(error, target, "lost an event notification");
            }
        }
    }
}

/// Returns the error for a configuration that names a queue that does not exist.
fn invalid_destination() -> S3Error {
    invalid_argument("Unable to validate the following destination configurations")
}
