//! Notification configurations of buckets, and sending events to their queues.

use http::Extensions;
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result};
use tracing::warn;

use super::{Api, context};
use crate::s3::events::{Event, test_message};
use crate::s3::failure::invalid_argument;
use crate::s3::notifications::{self, QueueNotification};

impl Api {
    pub(super) async fn do_get_notifications(
        &self,
        request: S3Request<GetBucketNotificationConfigurationInput>,
    ) -> S3Result<GetBucketNotificationConfigurationOutput> {
        self.store.with_bucket(&request.input.bucket, |bucket| {
            let notifications = bucket.settings.notifications.iter().cloned();
            let queues: Vec<_> = notifications.map(QueueNotification::into_dto).collect();
            Ok(GetBucketNotificationConfigurationOutput {
                queue_configurations: (!queues.is_empty()).then_some(queues),
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
            let mut queues = notifications.iter().map(|one| one.queue_arn.as_str());
            if queues.any(|queue| !self.sqs.has_queue(queue)) {
                return Err(invalid_destination());
            }
            for notification in &notifications {
                let message = test_message(&input.bucket, &context, self.store.now());
                let sent = self.sqs.deliver_event(&notification.queue_arn, message);
                sent.await.map_err(|_| invalid_destination())?;
            }
        }
        self.store.change_settings(&input.bucket, |settings| {
            settings.notifications = notifications;
        })?;
        Ok(PutBucketNotificationConfigurationOutput::default())
    }

    /// Sends an event to the queues that the bucket's notifications select. A deleted queue loses it.
    pub(super) async fn notify(&self, event: &Event<'_>, extensions: &Extensions) {
        let selected: Vec<QueueNotification> = self
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
        for QueueNotification { id, queue_arn, .. } in selected {
            let message = event.message(&id, &self.region, &context, self.store.now());
            if let Err(error) = self.sqs.deliver_event(&queue_arn, message).await {
                warn!(%error, queue = queue_arn, "lost an event notification");
            }
        }
    }
}

/// Returns the error for a configuration that names a queue that does not exist.
fn invalid_destination() -> S3Error {
    invalid_argument("Unable to validate the following destination configurations")
}
