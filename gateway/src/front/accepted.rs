use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use platform::telemetry::trace;
use platform::trace_span;
use proto::v1::recognition_result::Outcome;
use proto::v1::{RecognitionJob, Timings};
use proto::{FileName, JobId};
use tokio::sync::oneshot;
use tracing::Instrument;

use super::admission::AdmissionPermit;
use super::backend::Backend;
use super::inspect::InspectedPhoto;
use super::photo_store::StoredPhoto;
use super::registry::{Reply, RequestRegistry, deadline_exceeded};
use crate::error::{ErrorCode, RequestError};

/// An accepted request: its photo is stored and enqueued, its reply awaited, and a bad photo deleted.
#[derive(Debug)]
pub struct AcceptedRequest {
    pub id: JobId,
    pub file_name: FileName,
    pub photo: InspectedPhoto,
    pub accepted_at: Instant,
    pub deadline: Instant,
    pub reply: oneshot::Receiver<Reply>,
    pub registry: Arc<RequestRegistry>,
    pub backend: Backend,
    pub permit: AdmissionPermit,
}

impl AcceptedRequest {
    /// Runs the request to its end.
    ///
    /// # Errors
    /// The error for the client. What a worker found to be wrong with the photo is an outcome.
    pub async fn run(self) -> Reply {
        let Self {
            id,
            file_name,
            photo,
            accepted_at,
            deadline,
            reply,
            registry,
            backend,
            permit,
        } = self;
        let AdmissionPermit {
            in_flight: _in_flight,
            memory,
            ..
        } = permit;
        let submitted = submit(id, &file_name, &photo, deadline, &backend);
        let stored = match tokio::time::timeout_at(deadline.into(), submitted).await {
            Ok(Ok(stored)) => Some(stored),
            Ok(Err(error)) => {
                registry.finish(id, Err(error));
                None
            }
            Err(_) => {
                registry.finish(id, Err(deadline_exceeded()));
                None
            }
        };
        // From here on only the worker needs the photo.
        drop((photo, memory));

        let reply = reply.instrument(trace_span!("wait for reply")).await;
        let reply = reply.unwrap_or_else(|_| {
            Err(RequestError::new(
                ErrorCode::Internal,
                "the request was lost",
            ))
        });
        let (outcome, timings) = reply.map_err(|error| with_place_of_result(error, id))?;
        if let Outcome::Failure(failure) = &outcome
            && RequestError::from(failure.clone()).code.is_bad_photo()
            && let Some(stored) = stored
        {
            stored.discard().await;
        }
        let total_ms = accepted_at.elapsed().as_secs_f32() * 1e3;
        let timings = Timings {
            total_ms,
            ..timings
        };
        Ok((outcome, timings))
    }
}

/// Adds to the error of a request that waited too long where a later answer is kept.
fn with_place_of_result(error: RequestError, id: JobId) -> RequestError {
    if error.code != ErrorCode::DeadlineExceeded {
        return error;
    }
    let message = format!("{}; a later answer is at /v1/results/{id}", error.message);
    RequestError::new(error.code, message)
}

async fn submit(
    id: JobId,
    file_name: &FileName,
    photo: &InspectedPhoto,
    deadline: Instant,
    backend: &Backend,
) -> Result<StoredPhoto, RequestError> {
    let storing = backend.photos.store(file_name, photo);
    let stored = storing.instrument(trace_span!("store photo")).await?;
    let left = deadline.saturating_duration_since(Instant::now());
    let mut job = RecognitionJob {
        deadline: Some((SystemTime::now() + left).into()),
        ..job(
            id,
            file_name,
            stored.key(),
            &photo.sha256,
            &backend.reply_queue,
            left,
        )
    };
    let span = trace_span!(
        "send job",
        otel.kind = "producer",
        messaging.system = "aws_sqs",
        messaging.destination.name = backend.requests.queue(),
        messaging.operation.name = "send",
        messaging.operation.type = "send",
    );
    let sending = async {
        job.traceparent = trace::traceparent().unwrap_or_default();
        backend.requests.send(proto::encode(&job)).await
    };
    sending.instrument(span).await?;
    Ok(stored)
}

/// Returns the job of a request that waits for `left`, without its deadline and trace.
#[must_use]
pub fn job(
    id: JobId,
    file_name: &FileName,
    key: &str,
    photo_sha256: &str,
    reply_queue: &str,
    left: Duration,
) -> RecognitionJob {
    let renamed = key != file_name.as_str();
    RecognitionJob {
        job_id: id.to_string(),
        object_key: key.to_owned(),
        file_name: if renamed {
            file_name.to_string()
        } else {
            String::new()
        },
        reply_queue: reply_queue.to_owned(),
        deadline: None,
        photo_sha256: photo_sha256.to_owned(),
        // 0 would mean forever.
        time_to_live_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1),
        traceparent: String::new(),
        frame: None,
    }
}
