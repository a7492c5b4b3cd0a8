//! Results whose caller was gone when they came, by request id: front or a connection had ended. They are kept in the out-bucket,
//! by front, or by a worker whose reply queue is gone.

use proto::v1::recognition_result::Outcome;
use proto::v1::{FailureCode, RecognitionResult};
use proto::{JobId, names};

use crate::objects::{Metadata, ObjectError, Objects, Put};

/// Keeps a photo's result, unless one of this request is kept already, or it [is of no use](is_of_use). Returns whether it
/// was stored.
///
/// # Errors
/// When the object store cannot be reached or refuses.
pub async fn keep(
    out_bucket: &Objects,
    request: JobId,
    result: &RecognitionResult,
) -> Result<bool, ObjectError> {
    if !is_of_use(result) {
        return Ok(false);
    }
    let (key, body) = (names::kept_result(request), proto::encode(result));
    let put = out_bucket.put_if_absent(&key, body.into(), Metadata::new());
    Ok(put.await? == Put::Stored)
}

/// Returns whether a caller that asks later learns something: a job that ran out of time has no result.
#[must_use]
pub fn is_of_use(result: &RecognitionResult) -> bool {
    match &result.outcome {
        Some(Outcome::Recognition(_)) => true,
        Some(Outcome::Failure(failure)) => failure.code() != FailureCode::DeadlineExceeded,
        Some(Outcome::Frame(_)) | None => false,
    }
}
