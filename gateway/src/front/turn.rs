use std::sync::Arc;
use std::time::{Instant, SystemTime};

use proto::v1::recognition_result::Outcome;
use proto::v1::{RecognitionJob, RecognizeResponse, Timings};
use proto::{FileName, JobId};
use tokio::sync::oneshot;

use super::backend::Backend;
use super::gate::Admission;
use super::inspect::Photo;
use super::photos::StoredPhoto;
use super::waiting::{Reply, Waiting, deadline_exceeded};
use crate::error::{ErrorCode, RequestError};

/// One accepted request on its way: store, enqueue, wait, clean up.
#[derive(Debug)]
pub struct Turn {
    pub id: JobId,
    pub file_name: FileName,
    pub photo: Photo,
    pub accepted_at: Instant,
    pub deadline: Instant,
    pub reply: oneshot::Receiver<Reply>,
    pub waiting: Arc<Waiting>,
    pub backend: Backend,
    pub admission: Admission,
}

impl Turn {
    /// # Errors
    /// Whatever the client is to be told instead of a name.
    pub async fn run(self) -> Result<RecognizeResponse, RequestError> {
        let Self {
            id,
            file_name,
            photo,
            accepted_at,
            deadline,
            reply,
            waiting,
            backend,
            admission,
        } = self;
        let Admission {
            in_flight: _in_flight,
            memory,
            ..
        } = admission;
        let submitted = submit(id, &file_name, &photo, deadline, &backend);
        let stored = match tokio::time::timeout_at(deadline.into(), submitted).await {
            Ok(Ok(stored)) => Some(stored),
            Ok(Err(error)) => {
                waiting.answer(id, Err(error));
                None
            }
            Err(_) => {
                waiting.answer(id, Err(deadline_exceeded()));
                None
            }
        };
        // The worker has its own copy from here on.
        drop((photo, memory));

        let reply = reply.await.unwrap_or_else(|_| {
            Err(RequestError::new(
                ErrorCode::Internal,
                "the request was forgotten",
            ))
        });
        match reply? {
            (Outcome::Recognition(recognition), timings) => {
                let total_ms = accepted_at.elapsed().as_secs_f32() * 1e3;
                Ok(RecognizeResponse {
                    request_id: id.to_string(),
                    stem: file_name.stem().to_owned(),
                    recognition: Some(recognition),
                    timings: Some(Timings {
                        total_ms,
                        ..timings
                    }),
                })
            }
            (Outcome::Failure(failure), _) => {
                let error = RequestError::from(failure);
                if let Some(stored) = stored.filter(|_| error.code.is_bad_photo()) {
                    stored.discard().await;
                }
                Err(error)
            }
        }
    }
}

async fn submit(
    id: JobId,
    file_name: &FileName,
    photo: &Photo,
    deadline: Instant,
    backend: &Backend,
) -> Result<StoredPhoto, RequestError> {
    let stored = backend.photos.store(file_name, photo).await?;
    let renamed = stored.key() != file_name.as_str();
    let left = deadline.saturating_duration_since(Instant::now());
    let job = RecognitionJob {
        job_id: id.to_string(),
        object_key: stored.key().to_owned(),
        file_name: if renamed {
            file_name.to_string()
        } else {
            String::new()
        },
        reply_queue: backend.reply_queue.clone(),
        deadline: Some((SystemTime::now() + left).into()),
        photo_sha256: photo.sha256.clone(),
        // 0 would be for ever.
        time_to_live_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1),
    };
    backend.requests.send(proto::encode(&job)).await?;
    Ok(stored)
}
