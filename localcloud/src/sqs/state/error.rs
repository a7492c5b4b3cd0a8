//! SQS's errors, with the codes that clients branch on.

use std::fmt::Display;

use http::StatusCode;
use thiserror::Error;

/// An SQS error. Clients see its message.
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

/// The codes of an error whose name is the same in both protocols.
macro_rules! same {
    ($name:literal) => {
        (concat!("com.amazonaws.sqs#", $name), $name)
    };
}

/// The codes of an error whose name has a prefix in the query protocol.
macro_rules! prefixed {
    ($name:literal) => {
        (
            concat!("com.amazonaws.sqs#", $name),
            concat!("AWS.SimpleQueueService.", $name),
        )
    };
}

impl SqsError {
    /// Returns `InvalidParameterValue`, in the words of AWS.
    pub fn invalid_value(parameter: &str, value: impl Display, reason: &str) -> Self {
        Self::InvalidParameterValue(format!(
            "Value {value} for parameter {parameter} is invalid. Reason: {reason}."
        ))
    }

    /// Returns the code in the JSON protocol: the error's shape and its namespace.
    pub fn shape(&self) -> &'static str {
        self.codes().0
    }

    /// Returns the code in the query protocol. Responses of the JSON protocol carry it in a header.
    pub fn query_code(&self) -> &'static str {
        self.codes().1
    }

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

    /// Returns the party at fault: `Sender` or `Receiver`.
    pub fn fault(&self) -> &'static str {
        if self.status().is_server_error() {
            "Receiver"
        } else {
            "Sender"
        }
    }

    /// Returns the codes of the JSON protocol and of the query protocol.
    fn codes(&self) -> (&'static str, &'static str) {
        match self {
            Self::QueueDoesNotExist => (
                "com.amazonaws.sqs#QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
            ),
            Self::QueueNameExists(_) => ("com.amazonaws.sqs#QueueNameExists", "QueueAlreadyExists"),
            Self::InvalidAttributeName(_) => same!("InvalidAttributeName"),
            Self::InvalidAttributeValue(_) => same!("InvalidAttributeValue"),
            Self::InvalidParameterValue(_) => (
                "com.amazon.coral.service#InvalidParameterValueException",
                "InvalidParameterValue",
            ),
            Self::MissingParameter(_) => (
                "com.amazon.coral.service#MissingRequiredParameterException",
                "MissingParameter",
            ),
            Self::InvalidMessageContents => same!("InvalidMessageContents"),
            Self::ReceiptHandleIsInvalid => same!("ReceiptHandleIsInvalid"),
            Self::MessageNotInflight => prefixed!("MessageNotInflight"),
            Self::OverLimit(_) | Self::TooManyPermissions(_) => same!("OverLimit"),
            Self::ResourceNotFound(_) => same!("ResourceNotFoundException"),
            Self::PurgeQueueInProgress(_) => prefixed!("PurgeQueueInProgress"),
            Self::EmptyBatchRequest(_) => prefixed!("EmptyBatchRequest"),
            Self::TooManyEntriesInBatchRequest(_) => prefixed!("TooManyEntriesInBatchRequest"),
            Self::BatchEntryIdsNotDistinct(_) => prefixed!("BatchEntryIdsNotDistinct"),
            Self::InvalidBatchEntryId => prefixed!("InvalidBatchEntryId"),
            Self::BatchRequestTooLong { .. } => prefixed!("BatchRequestTooLong"),
            Self::InternalFailure => (
                "com.amazon.coral.service#InternalFailure",
                "InternalFailure",
            ),
            Self::UnsupportedOperation(_) => prefixed!("UnsupportedOperation"),
            Self::InvalidAction(_) => (
                "com.amazon.coral.service#UnknownOperationException",
                "InvalidAction",
            ),
            Self::SerializationError(_) => (
                "com.amazon.coral.service#SerializationException",
                "MalformedInput",
            ),
        }
    }
}
