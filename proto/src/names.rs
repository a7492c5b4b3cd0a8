//! Names of buckets, queues and instances.

use crate::JobId;

/// The names of a deployment's buckets and queues, by its prefix.
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
/// Receives of a request message before it goes to the dead-letter queue.
pub const MAX_RECEIVE_COUNT: u32 = 5;

/// Hexadecimal digits. A name fits into SQS's 80 bytes if a bucket's name with the same prefix fits into 63.
const REPLY_QUEUE_DIGITS: usize = 12;

/// Returns the key in the out-bucket of a result whose caller was gone. No file name has a slash.
#[must_use]
pub fn kept_result(request: JobId) -> String {
    format!("results/{request}")
}

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

    /// Returns the name of the bucket with the scalers' lease and the fleet's token.
    #[must_use]
    pub fn scaler_bucket(&self) -> String {
        format!("{}-scaler-bucket", self.prefix)
    }

    #[must_use]
    pub fn request_queue(&self) -> String {
        format!("{}-req-queue", self.prefix)
    }

    /// Returns the prefix of the names of reply queues. Each front has its own.
    #[must_use]
    pub fn reply_queue(&self) -> String {
        format!("{}-resp-queue", self.prefix)
    }

    /// Makes a name for the reply queue of one front.
    #[must_use]
    pub fn new_reply_queue(&self) -> String {
        let id = JobId::random().to_string();
        format!("{}-{}", self.reply_queue(), &id[..REPLY_QUEUE_DIGITS])
    }

    /// Returns whether the name has the form of [`Names::new_reply_queue`], which operators do not use.
    #[must_use]
    pub fn is_new_reply_queue(&self, queue: &str) -> bool {
        let rest = queue.strip_prefix(&self.reply_queue());
        let id = rest.and_then(|rest| rest.strip_prefix('-'));
        id.is_some_and(|id| {
            id.len() == REPLY_QUEUE_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    /// Returns the name of the queue for request messages that were received [`MAX_RECEIVE_COUNT`] times.
    #[must_use]
    pub fn dead_letter_queue(&self) -> String {
        format!("{}-req-dead-letter-queue", self.prefix)
    }
}

/// Returns the tag `Name` of a worker.
#[must_use]
pub fn worker_instance(number: u32) -> String {
    format!("{WORKER_INSTANCE}-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_reply_queue_differs_from_those_of_operators() {
        let names = Names::new("acme-faces");
        let made = names.new_reply_queue();
        assert!(made.starts_with("acme-faces-resp-queue-"), "{made}");
        assert!(names.is_new_reply_queue(&made));
        assert_ne!(made, names.new_reply_queue());
        for other in [
            "acme-faces-resp-queue",
            "acme-faces-resp-queue-2",
            "acme-faces-resp-queue-of-the-second-front",
            "acme-resp-queue-0123456789ab",
            &made[1..],
        ] {
            assert!(!names.is_new_reply_queue(other), "{other}");
        }
    }

    #[test]
    fn names_of_queues_fit_where_those_of_buckets_do() {
        let longest = "p".repeat(63 - Names::new("").out_bucket().len());
        assert!(Names::new(longest).new_reply_queue().len() <= 80);
    }
}
