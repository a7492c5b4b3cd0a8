//! Calls for several messages.

use aws_sdk_sqs::types::{
    BatchResultErrorEntry, DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry,
};

use super::{Queue, QueueError};

impl Queue {
    /// Sends up to [`BATCH_LIMIT`](super::BATCH_LIMIT) messages in one call. Returns one result for each message, in order.
    pub async fn send_batch(&self, bodies: Vec<String>) -> Vec<Result<(), QueueError>> {
        let count = bodies.len();
        let entries = bodies.into_iter().enumerate().map(|(index, body)| {
            SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(body)
                .build()
                .expect("id and body are set")
        });
        let sent = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries.collect()))
            .send()
            .await;
        match sent {
            Ok(sent) => batch_results(count, &sent.failed),
            Err(error) => (0..count).map(|_| Err(self.failed(&error))).collect(),
        }
    }

    /// Deletes up to [`BATCH_LIMIT`](super::BATCH_LIMIT) messages in one call. Fails when SQS refuses one of them.
    pub async fn delete_batch(&self, receipt_handles: Vec<String>) -> Result<(), QueueError> {
        let deleted = self.delete_each(receipt_handles).await;
        deleted.into_iter().collect()
    }

    /// Deletes as [`Queue::delete_batch`] does. Returns one result for each message, in order.
    pub(super) async fn delete_each(
        &self,
        receipt_handles: Vec<String>,
    ) -> Vec<Result<(), QueueError>> {
        let count = receipt_handles.len();
        let entries = receipt_handles
            .into_iter()
            .enumerate()
            .map(|(index, receipt_handle)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(receipt_handle)
                    .build()
                    .expect("id and receipt handle are set")
            });
        let deleted = self
            .client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries.collect()))
            .send()
            .await;
        match deleted {
            Ok(deleted) => batch_results(count, &deleted.failed),
            Err(error) => (0..count).map(|_| Err(self.failed(&error))).collect(),
        }
    }
}

/// Returns one result for each of `count` entries.
fn batch_results(count: usize, failed: &[BatchResultErrorEntry]) -> Vec<Result<(), QueueError>> {
    let mut results: Vec<_> = (0..count).map(|_| Ok(())).collect();
    for entry in failed {
        let text = format!(
            "{}: {}",
            entry.code,
            entry.message.as_deref().unwrap_or_default()
        );
        let index = entry.id.parse::<usize>().ok();
        if let Some(result) = index.and_then(|index| results.get_mut(index)) {
            *result = Err(QueueError::Unavailable(text));
        }
    }
    results
}
