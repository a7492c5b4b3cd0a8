//! Everything that SQS refuses, with the codes that clients branch on.

use http::StatusCode;
use thiserror::Error;

/// An SQS error. The message is what a client sees.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SqsError {
    #[error("The specified queue does not exist.")]
    QueueDoesNotExist,
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    QueueNameExists(String),
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    #[error("Invalid value for the parameter {0}.")]
    InvalidAttributeValue(String),
    #[error("{0}")]
    InvalidParameterValue(String),
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    #[error(
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF."
    )]
    InvalidMessageContents,
    #[error("The input receipt handle is invalid.")]
    ReceiptHandleIsInvalid,
    #[error("The specified message isn't in flight.")]
    MessageNotInflight,
    #[error("Too many messages in flight: {0}.")]
    OverLimit(usize),
    #[error("{0} statements are too many: a queue's policy has at most 20 of them.")]
    TooManyPermissions(usize),
    #[error("{0}")]
    ResourceNotFound(String),
    #[error("Only one PurgeQueue operation on {0} is allowed every 60 seconds.")]
    PurgeQueueInProgress(String),
    #[error("There should be at least one {0} in the request.")]
    EmptyBatchRequest(&'static str),
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntriesInBatchRequest(usize),
    #[error("Id {0} repeated.")]
    BatchEntryIdsNotDistinct(String),
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
    )]
    InvalidBatchEntryId,
    #[error(
        "Batch requests cannot be longer than {limit_bytes} bytes. You have sent {sent_bytes} bytes."
    )]
    BatchRequestTooLong {
        limit_bytes: usize,
        sent_bytes: usize,
    },
    #[error("The request processing has failed because of an unknown error.")]
    InternalFailure,
    #[error("{0}")]
    UnsupportedOperation(String),
    #[error("The action {0} is not valid for this endpoint.")]
    InvalidAction(String),
    #[error("The request body could not be read: {0}")]
    SerializationError(String),
}

impl SqsError {
    /// The name of the error's shape in the JSON protocol, with its namespace.
    pub fn shape(&self) -> &'static str {
        self.codes().0
    }

    /// The code in the older query protocol, which clients of the JSON protocol are told in a header.
    pub fn query_code(&self) -> &'static str {
        self.codes().1
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::OverLimit(_) | Self::TooManyPermissions(_) | Self::PurgeQueueInProgress(_) => {
                StatusCode::FORBIDDEN
            }
            Self::ResourceNotFound(_) => StatusCode::NOT_FOUND,
            Self::InternalFailure => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Who is at fault: `Sender` or `Receiver`.
    pub fn fault(&self) -> &'static str {
        if self.status().is_server_error() {
            "Receiver"
        } else {
            "Sender"
        }
    }

    fn codes(&self) -> (&'static str, &'static str) {
        use SqsError as E;
        match self {
            E::QueueDoesNotExist => (
                "com.amazonaws.sqs#QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
            ),
            E::QueueNameExists(_) => ("com.amazonaws.sqs#QueueNameExists", "QueueAlreadyExists"),
            E::InvalidAttributeName(_) => (
                "com.amazonaws.sqs#InvalidAttributeName",
                "InvalidAttributeName",
            ),
            E::InvalidAttributeValue(_) => (
                "com.amazonaws.sqs#InvalidAttributeValue",
                "InvalidAttributeValue",
            ),
            E::InvalidParameterValue(_) => (
                "com.amazon.coral.service#InvalidParameterValueException",
                "InvalidParameterValue",
            ),
            E::MissingParameter(_) => (
                "com.amazon.coral.service#MissingRequiredParameterException",
                "MissingParameter",
            ),
            E::InvalidMessageContents => (
                "com.amazonaws.sqs#InvalidMessageContents",
                "InvalidMessageContents",
            ),
            E::ReceiptHandleIsInvalid => (
                "com.amazonaws.sqs#ReceiptHandleIsInvalid",
                "ReceiptHandleIsInvalid",
            ),
            E::MessageNotInflight => (
                "com.amazonaws.sqs#MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
            ),
            E::OverLimit(_) | E::TooManyPermissions(_) => {
                ("com.amazonaws.sqs#OverLimit", "OverLimit")
            }
            E::ResourceNotFound(_) => (
                "com.amazonaws.sqs#ResourceNotFoundException",
                "ResourceNotFoundException",
            ),
            E::PurgeQueueInProgress(_) => (
                "com.amazonaws.sqs#PurgeQueueInProgress",
                "AWS.SimpleQueueService.PurgeQueueInProgress",
            ),
            E::EmptyBatchRequest(_) => (
                "com.amazonaws.sqs#EmptyBatchRequest",
                "AWS.SimpleQueueService.EmptyBatchRequest",
            ),
            E::TooManyEntriesInBatchRequest(_) => (
                "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            ),
            E::BatchEntryIdsNotDistinct(_) => (
                "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            ),
            E::InvalidBatchEntryId => (
                "com.amazonaws.sqs#InvalidBatchEntryId",
                "AWS.SimpleQueueService.InvalidBatchEntryId",
            ),
            E::BatchRequestTooLong { .. } => (
                "com.amazonaws.sqs#BatchRequestTooLong",
                "AWS.SimpleQueueService.BatchRequestTooLong",
            ),
            E::InternalFailure => (
                "com.amazon.coral.service#InternalFailure",
                "InternalFailure",
            ),
            E::UnsupportedOperation(_) => (
                "com.amazonaws.sqs#UnsupportedOperation",
                "AWS.SimpleQueueService.UnsupportedOperation",
            ),
            E::InvalidAction(_) => (
                "com.amazon.coral.service#UnknownOperationException",
                "InvalidAction",
            ),
            E::SerializationError(_) => (
                "com.amazon.coral.service#SerializationException",
                "MalformedInput",
            ),
        }
    }
}
