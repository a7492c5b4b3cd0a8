//! The messages of event notifications, in version 2.1 of S3's format. Pure.

use serde_json::json;

use super::OWNER_ID;
use super::context::RequestContext;
use super::encoding::url_encode;
use super::store::Object;
use crate::clock::Millis;
use crate::timestamp::timestamp;

/// A change of an object.
#[derive(Debug)]
pub struct ObjectEvent<'a> {
    /// Without `s3:`.
    pub name: &'static str,
    pub bucket: &'a str,
    pub key: &'a str,
    /// The object, if it was created.
    pub object: Option<&'a Object>,
    /// Orders the events of a key.
    pub sequencer: u64,
}

impl ObjectEvent<'_> {
    /// Returns the message for the queue of a notification configuration.
    pub fn message(
        &self,
        configuration_id: &str,
        region: &str,
        context: &RequestContext,
        now: Millis,
    ) -> String {
        let mut object = json!({
            "key": url_encode(self.key),
            "sequencer": format!("{:018X}", self.sequencer),
        });
        if let Some(created) = self.object {
            object["size"] = created.size.into();
            object["eTag"] = created.etag.as_str().into();
        }
        json!({
            "Records": [{
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": region,
                "eventTime": timestamp(now),
                "eventName": self.name,
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
                        "name": self.bucket,
                        "ownerIdentity": { "principalId": OWNER_ID },
                        "arn": format!("arn:aws:s3:::{}", self.bucket),
                    },
                    "object": object,
                },
            }],
        })
        .to_string()
    }
}

/// Returns the message with which S3 tests a new configuration.
pub fn test_message(bucket: &str, context: &RequestContext, now: Millis) -> String {
    json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": timestamp(now),
        "Bucket": bucket,
        "RequestId": context.request_id,
        "HostId": context.host_id,
    })
    .to_string()
}
