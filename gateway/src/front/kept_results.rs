//! Front's part in [`platform::kept_results`]: it keeps results, and serves them.

use platform::objects::{ObjectError, Objects};
use proto::v1::recognition_result::Outcome;
use proto::v1::{RecognitionResult, RecognizeResponse, Timings};
use proto::{JobId, names};

use super::registry::deadline_exceeded;
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// The out-bucket.
#[derive(Debug, Clone)]
pub struct KeptResults(Objects);

impl KeptResults {
    #[must_use]
    pub fn new(results: Objects) -> Self {
        Self(results)
    }

    /// Keeps a photo's result, unless one of this request is kept already.
    ///
    /// # Errors
    /// When the object store cannot be reached or refuses.
    pub async fn keep(&self, id: JobId, result: &RecognitionResult) -> Result<(), ObjectError> {
        if platform::kept_results::keep(&self.0, id, result).await? {
            metric::KEPT_RESULTS.get().increment(1);
        }
        Ok(())
    }

    /// Keeps the result of a request whose caller left while it was in work.
    pub async fn keep_undelivered(
        &self,
        id: JobId,
        stem: String,
        outcome: Outcome,
        timings: Timings,
    ) {
        let result = RecognitionResult {
            job_id: id.to_string(),
            outcome: Some(outcome),
            timings: Some(timings),
            stem,
            ..RecognitionResult::default()
        };
        if let Err(error) = self.keep(id, &result).await {
            tracing::warn!(%error, "the result of a request whose caller left cannot be kept");
        }
    }

    /// Returns the answer to a request.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] when no result is kept; [`ErrorCode::Unavailable`] when the object store cannot be reached; the
    /// worker's error when that was the result.
    pub async fn find(&self, id: JobId) -> Result<RecognizeResponse, RequestError> {
        let body = match self.0.get(&names::kept_result(id)).await {
            Ok(body) => body,
            Err(ObjectError::NotFound(_)) => return Err(not_kept()),
            Err(error) => {
                tracing::warn!(%error, "a kept result cannot be read");
                let message = "the object store cannot be reached";
                return Err(RequestError::new(ErrorCode::Unavailable, message));
            }
        };
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let result: RecognitionResult = proto::decode(text).map_err(|error| {
            tracing::error!(%error, "a kept result is damaged");
            RequestError::new(ErrorCode::Internal, "the kept result is damaged")
        })?;
        let timings = result.timings.unwrap_or_default();
        let outcome = result.outcome.ok_or_else(deadline_exceeded)?;
        answer(id, result.stem, outcome, timings)
    }
}

/// Returns the response to a request with this outcome, or its error.
pub fn answer(
    id: JobId,
    stem: String,
    outcome: Outcome,
    timings: Timings,
) -> Result<RecognizeResponse, RequestError> {
    match outcome {
        Outcome::Recognition(recognition) => Ok(RecognizeResponse {
            request_id: id.to_string(),
            stem,
            recognition: Some(recognition),
            timings: Some(timings),
        }),
        Outcome::Failure(failure) => Err(failure.into()),
        Outcome::Frame(_) => Err(RequestError::new(
            ErrorCode::Internal,
            "the reply is for a frame of a clip",
        )),
    }
}

fn not_kept() -> RequestError {
    let message =
        "no result is kept for this request: it was answered, is still in work, or never came";
    RequestError::new(ErrorCode::NotFound, message)
}
