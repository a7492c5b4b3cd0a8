//! The messages about what happens in a bucket, in version 2.1 of S3's format.

use s3s::{S3Error, S3Result};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::warn;

use super::api::Api;
use super::caller::Caller;
use super::encoding::url_encode;
use super::failure::invalid_argument;
use super::notifications::QueueNotification;
use super::store::Object;
use crate::clock::Millis;

/// Something that happened to an object.
#[derive(Debug)]
pub struct Event<'a> {
    /// Without `s3:`.
    pub name: &'static str,
    pub bucket: &'a str,
    pub key: &'a str,
    /// What was created.
    pub object: Option<&'a Object>,
    /// Events of one key are ordered by it.
    pub sequencer: u64,
}

impl Api {
    /// Sends an event to the queues that are to hear of it. A queue that is gone hears nothing.
    pub(super) async fn announce(&self, event: &Event<'_>, caller: &Caller) {
        let listeners: Vec<QueueNotification> = self
            .store
            .with_bucket(event.bucket, |bucket| {
                let all = bucket.settings.notifications.iter();
                Ok(all
                    .filter(|listener| listener.hears_of(event.name, event.key))
                    .cloned()
                    .collect())
            })
            .unwrap_or_default();
        for listener in listeners {
            let body = self.message(event, &listener.id, caller);
            if let Err(error) = self.sqs.deliver_event(&listener.queue_arn, body).await {
                warn!(%error, queue = listener.queue_arn, "an event was lost");
            }
        }
    }

    /// Sends the message by which S3 tries a new configuration out.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no such queue.
    pub(super) async fn announce_test(
        &self,
        bucket: &str,
        queue_arn: &str,
        caller: &Caller,
    ) -> S3Result<()> {
        let body = json!({
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": iso_time(self.store.now()),
            "Bucket": bucket,
            "RequestId": caller.request_id,
            "HostId": caller.host_id,
        });
        self.sqs
            .deliver_event(queue_arn, body.to_string())
            .await
            .map_err(|_| no_destination())
    }

    fn message(&self, event: &Event<'_>, configuration_id: &str, caller: &Caller) -> String {
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
                "userIdentity": { "principalId": format!("AWS:{}", caller.access_key) },
                "requestParameters": { "sourceIPAddress": caller.address },
                "responseElements": {
                    "x-amz-request-id": caller.request_id,
                    "x-amz-id-2": caller.host_id,
                },
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": configuration_id,
                    "bucket": {
                        "name": event.bucket,
                        "ownerIdentity": { "principalId": super::api::OWNER_ID },
                        "arn": format!("arn:aws:s3:::{}", event.bucket),
                    },
                    "object": object,
                },
            }],
        })
        .to_string()
    }
}

/// A queue that a configuration names and that is not there.
pub fn no_destination() -> S3Error {
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
