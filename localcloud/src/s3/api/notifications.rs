//! Notification configurations of buckets, and sending events to their queues.

use std::sync::Arc;

use http::Extensions;
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result};
use tracing::warn;

use super::{Api, context};
use crate::links::EventTarget;
use crate::s3::events::{ObjectEvent, test_message};
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
            let is_valid = |one: &Notification| {
                let service = self.service_of(one);
                service.accepts_events(&one.target_arn, &input.bucket)
            };
            if !notifications.iter().all(is_valid) {
                return Err(invalid_destination());
            }
            // Functions get no test message.
            for notification in notifications.iter().filter(|one| !one.is_function()) {
                let message = test_message(&input.bucket, &context, self.store.now());
                let queues = Arc::clone(&self.queues);
                let sent = queues.send_event(&notification.target_arn, message);
                sent.await.map_err(|_| invalid_destination())?;
            }
        }
        self.store.change_settings(&input.bucket, |settings| {
            settings.notifications = notifications;
        })?;
        Ok(PutBucketNotificationConfigurationOutput::default())
    }

    /// Sends an event to the queues and functions that the bucket's notifications select. One that is deleted loses it.
    pub(super) async fn notify(&self, event: &ObjectEvent<'_>, extensions: &Extensions) {
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
            let sent = self.service_of(&notification).send_event(target, message);
            if let Err(error) = sent.await {
                warn!(error, target, "lost an event notification");
            }
        }
    }

    /// Returns the service of a notification's target.
    fn service_of(&self, notification: &Notification) -> Arc<dyn EventTarget> {
        match &self.functions {
            Some(functions) if notification.is_function() => Arc::clone(functions),
            _ => Arc::clone(&self.queues),
        }
    }
}

/// Returns the error for a configuration that names a queue that does not exist.
fn invalid_destination() -> S3Error {
    invalid_argument("Unable to validate the following destination configurations")
}
