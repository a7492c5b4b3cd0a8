use http::StatusCode;
use thiserror::Error;

use crate::common_error::CommonError;

/// The errors of Lambda's API, as AWS spells them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LambdaError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    InvalidParameter(String),
    #[error("{0}")]
    Validation(String),
    #[error("Could not parse request body into json: {0}")]
    InvalidRequestContent(String),
    #[error(
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    )]
    WrongRevision,
    #[error("Rate Exceeded.")]
    TooManyRequests,
    #[error("{0} byte payload is too large for the {1} invocation type (limit {2} bytes)")]
    RequestTooLarge(usize, &'static str, usize),
    #[error("localcloud has no such call of Lambda: {0}")]
    NotImplemented(String),
    #[error("{0}")]
    Service(String),
}

impl LambdaError {
    pub fn function_not_found(arn: &str) -> Self {
        Self::NotFound(format!("Function not found: {arn}"))
    }

    pub fn common(&self) -> CommonError {
        let (code, status) = match self {
            Self::NotFound(_) => ("ResourceNotFoundException", StatusCode::NOT_FOUND),
            Self::Conflict(_) => ("ResourceConflictException", StatusCode::CONFLICT),
            Self::InvalidParameter(_) => {
                ("InvalidParameterValueException", StatusCode::BAD_REQUEST)
            }
            Self::Validation(_) => ("ValidationException", StatusCode::BAD_REQUEST),
            Self::InvalidRequestContent(_) => {
                ("InvalidRequestContentException", StatusCode::BAD_REQUEST)
            }
            Self::WrongRevision => (
                "PreconditionFailedException",
                StatusCode::PRECONDITION_FAILED,
            ),
            Self::TooManyRequests => ("TooManyRequestsException", StatusCode::TOO_MANY_REQUESTS),
            Self::RequestTooLarge(..) => {
                ("RequestTooLargeException", StatusCode::PAYLOAD_TOO_LARGE)
            }
            Self::NotImplemented(_) => ("UnknownOperationException", StatusCode::NOT_FOUND),
            Self::Service(_) => ("ServiceException", StatusCode::INTERNAL_SERVER_ERROR),
        };
        CommonError::new(code, status, self.to_string())
    }
}
