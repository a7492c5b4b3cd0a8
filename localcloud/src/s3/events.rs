//! Event notifications to SQS queues, in version 2.1 of S3's format.

use http::Extensions;
use s3s::{S3Error, S3Result};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::warn;

use super::api::{Api, OWNER_ID, context};
use super::context::RequestContext;
use super::encoding::url_encode;
use super::failure::invalid_argument;
use super::notifications::QueueNotification;
use super::store::Object;
use crate::clock::Millis;

/// A change of an object.
#[derive(Debug)]
pub struct Event<'a> {
    /// Without `s3:`.
    pub name: &'static str,
    pub bucket: &'a str,
    pub key: &'a str,
    /// The object, if it was created.
    pub object: Option<&'a Object>,
    /// Orders the events of a key.
    pub sequencer: u64,
}

impl Api {
    /// Sends an event to the queues that the bucket's notifications select. A deleted queue loses it.
    pub(super) async fn notify(&self, event: &Event<'_>, extensions: &Extensions) {
        let selected: Vec<QueueNotification> = self
            .store
            .with_bucket(event.bucket, |bucket| {
                let all = bucket.settings.notifications.iter();
                Ok(all
                    .filter(|notification| notification.selects(event.name, event.key))
                    .cloned()
                    .collect())
            })
            .unwrap_or_default();
        if selected.is_empty() {
            return;
        }
        let context = context(extensions);
        for QueueNotification { id, queue_arn, .. } in selected {
            let body = self.message(event, &id, &context);
            if let Err(error) = self.sqs.deliver_event(&queue_arn, body).await {
                warn!(%error, queue = queue_arn, "lost an event notification");
            }
        }
    }

    /// Sends the message with which S3 tests a new configuration.
    ///
    /// # Errors
    /// `InvalidArgument` if the queue does not exist.
    pub(super) async fn send_test_event(
        &self,
        bucket: &str,
        queue_arn: &str,
        context: &RequestContext,
    ) -> S3Result<()> {
        let body = json!({
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": iso_time(self.store.now()),
            "Bucket": bucket,
            "RequestId": context.request_id,
            "HostId": context.host_id,
        });
        self.sqs
            .deliver_event(queue_arn, body.to_string())
            .await
            .map_err(|_| invalid_destination())
    }

    fn message(
        &self,
        event: &Event<'_>,
        configuration_id: &str,
        context: &RequestContext,
    ) -> String {
        let mut object = json!({
            "key": url_encode(event.key),
            "sequencer": format!("{:018X}", event.sequencer),
        });
        if let Some(created) = event.object {
            object["size"] = created.size.into();
            object["eTag"] = created.etag.as_str().into();
        }
        json!({
            "Records": [{
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": self.region,
                "eventTime": iso_time(self.store.now()),
                "eventName": event.name,
                "userIdentity": { "principalId": format!("AWS:{}", context.access_key) },
                "requestParameters": { "sourceIPAddress": context.address },
                "responseElements": {
                    "x-amz-request-id": context.request_id,
                    "x-amz-id-2": context.host_id,
                },
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": configuration_id,
                    "bucket": {
                        "name": event.bucket,
                        "ownerIdentity": { "principalId": OWNER_ID },
                        "arn": format!("arn:aws:s3:::{}", event.bucket),
                    },
                    "object": object,
                },
            }],
        })
        .to_string()
    }
}

/// The error for a configuration that names a queue that does not exist.
pub fn invalid_destination() -> S3Error {
    invalid_argument("Unable to validate the following destination configurations")
}

fn iso_time(millis: Millis) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_default()
}
