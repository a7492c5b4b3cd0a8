/// The names of a deployment's buckets, queues and instances, made from its prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

/// The tag `Name` of the instance that runs gateway, front and scaler.
pub const WEB_INSTANCE: &str = "web-instance";
/// The tag `Name` of a worker, before `-<n>`.
pub const WORKER_INSTANCE: &str = "app-tier-instance";
/// The largest message on the request queue, in bytes.
pub const REQUEST_MAX_BYTES: usize = 1024;
/// How often a request message is received before it goes to the dead-letter queue.
pub const MAX_RECEIVE_COUNT: u32 = 5;

impl Names {
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    #[must_use]
    pub fn in_bucket(&self) -> String {
        format!("{}-in-bucket", self.prefix)
    }

    #[must_use]
    pub fn out_bucket(&self) -> String {
        format!("{}-out-bucket", self.prefix)
    }

    #[must_use]
    pub fn request_queue(&self) -> String {
        format!("{}-req-queue", self.prefix)
    }

    #[must_use]
    pub fn reply_queue(&self) -> String {
        format!("{}-resp-queue", self.prefix)
    }

    /// Where request messages go that were received [`MAX_RECEIVE_COUNT`] times without being deleted.
    #[must_use]
    pub fn dead_letter_queue(&self) -> String {
        format!("{}-req-dead-letter-queue", self.prefix)
    }
}

/// The tag `Name` of the worker with number `number`.
#[must_use]
pub fn worker_instance(number: u32) -> String {
    format!("{WORKER_INSTANCE}-{number}")
}
