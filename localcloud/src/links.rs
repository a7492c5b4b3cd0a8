//! What services need of each other, as interfaces that neither of them owns.

use std::fmt::Debug;
use std::sync::Arc;

/// A service that S3 sends the events of its buckets to.
#[async_trait::async_trait]
pub trait EventTarget: Debug + Send + Sync {
    /// Returns whether the queue or function of this ARN may receive the events of a bucket.
    fn accepts_events(&self, target_arn: &str, bucket: &str) -> bool;

    /// Sends an event.
    ///
    /// # Errors
    /// The reason why the event is lost.
    async fn send_event(self: Arc<Self>, target_arn: &str, message: String) -> Result<(), String>;
}

/// The objects of S3, for services that read them without a request.
pub trait ReadObjects: Debug + Send + Sync {
    /// Reads a whole object; `None` if there is none.
    fn read(&self, bucket: &str, key: &str) -> Option<Vec<u8>>;
}
