//! Why an invocation fails. Lambda retries an asynchronous one twice, then moves its event to the dead-letter queue.

use aws_sdk_s3::error::DisplayErrorContext;
use lambda_runtime::Diagnostic;
use thiserror::Error;
use video::VideoError;

#[derive(Debug, Error)]
pub enum Failure {
    /// A retry cannot help: the caller is at fault.
    #[error("the event cannot be used: {0}")]
    BadEvent(String),
    #[error("there is no object {key:?} in the bucket {bucket}")]
    NoFrame { bucket: String, key: String },
    /// A newer object came while an older one was worked on, and results may be of either. A retry makes those of the newer.
    #[error("the object {0:?} was replaced meanwhile")]
    Changed(String),
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Unavailable(String),
    /// The machine is at fault, not the clip.
    #[error("FFmpeg failed: {0}")]
    Clip(#[from] VideoError),
    #[error("a temporary file failed: {0}")]
    File(#[from] std::io::Error),
    #[error("{failed} of {all} objects failed; the first one: {first}")]
    Several {
        failed: usize,
        all: usize,
        first: Box<Failure>,
    },
    #[error("the function panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Failure {
    /// The call of a service failed after its retries.
    pub fn unavailable(call: &str, error: &(impl std::error::Error + 'static)) -> Self {
        Self::Unavailable(format!("{call} failed: {}", DisplayErrorContext(error)))
    }

    /// Fails if there are failures among `all` objects of an event: with the only one, or with their number.
    pub fn first_of(failures: Vec<Self>, all: usize) -> Result<(), Self> {
        let failed = failures.len();
        match failures.into_iter().next() {
            None => Ok(()),
            Some(only) if all == 1 => Err(only),
            Some(first) => Err(Self::Several {
                failed,
                all,
                first: Box::new(first),
            }),
        }
    }

    /// The `errorType` in Lambda's reply.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BadEvent(_) => "BadEvent",
            Self::NoFrame { .. } => "NoFrame",
            Self::Changed(_) => "Changed",
            Self::Settings(_) => "Settings",
            Self::Unavailable(_) => "Unavailable",
            Self::Clip(_) => "FFmpeg",
            Self::File(_) => "File",
            Self::Several { .. } => "Several",
            Self::Panicked(_) => "Panicked",
        }
    }
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        Self {
            error_type: failure.kind().to_owned(),
            error_message: failure.to_string(),
        }
    }
}
