use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use platform::access::{Denied, Role, called_with, presented};
use platform::token::Token;
use proto::JobId;
use proto::v1::{RecognizeRequest, RecognizeResponse};
use tonic::Status;

use super::Gateway;
use super::answer::AnswerForm;
use super::upload::{self, Upload, UploadLimits};
use crate::error::{ErrorCode, RequestError};
use crate::front::REQUEST_ID_METADATA;
use crate::metric;

/// Answers `POST /`.
pub async fn recognize(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let measured = Measured::begin();
    let form = AnswerForm::wanted_by(request.headers());
    let answer = gateway.ask(request).await;
    match answer {
        Ok(response) => {
            measured.end("ok");
            form.recognized(response)
        }
        Err(Failed { error, job }) => {
            let id = job.unwrap_or_else(JobId::random);
            tracing::info!(request_id = %id, code = error.code.name(), %error, "refused or failed");
            measured.end(error.code.name());
            form.error(&error, Some(id))
        }
    }
}

impl Gateway {
    async fn ask(&self, request: Request) -> Result<RecognizeResponse, Failed> {
        if let Err(denied) = self.access.check(request.headers(), Role::Recognize) {
            let (parts, body) = request.into_parts();
            upload::drain_unread(&parts.headers, body.into_data_stream()).await;
            return Err(RequestError::from(denied).into());
        }
        let key = presented(request.headers()).and_then(|key| Token::parse(key).ok());
        let limits = UploadLimits {
            max_image_bytes: self.config.max_image_bytes,
            timeout: self.config.upload_timeout,
        };
        let upload = Upload::receive(request, limits, &self.budget).await?;
        metric::HTTP_PHOTO_BYTES
            .counter()
            .increment(upload.image.len() as u64);
        let file_name = upload.file_name.to_string();
        let message = RecognizeRequest {
            file_name,
            image: upload.image,
        };
        // Front has its own opinion of it.
        let mut request = called_with(key.as_ref(), message);
        request.set_timeout(self.config.deadline);
        request
            .extensions_mut()
            .insert(Arc::new(upload.reservation));
        let answered = self.front.clone().recognize(request).await?;
        Ok(answered.into_inner())
    }
}

/// Why there is no name, and the job it would have come from if front had made one.
#[derive(Debug)]
struct Failed {
    error: RequestError,
    job: Option<JobId>,
}

impl From<RequestError> for Failed {
    fn from(error: RequestError) -> Self {
        Self { error, job: None }
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        let id = status.metadata().get(REQUEST_ID_METADATA);
        let job = id.and_then(|id| id.to_str().ok()?.parse().ok());
        let error = RequestError::from(status);
        Self { error, job }
    }
}

impl From<Denied> for RequestError {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::NoKey | Denied::WrongKey => ErrorCode::NoKey,
            Denied::WrongRole { .. } => ErrorCode::KeyLacksRole,
            Denied::TooOften { .. } => ErrorCode::KeyUsedTooOften,
        };
        let mut error = Self::new(code, denied.to_string());
        if let Denied::TooOften { retry_after, .. } = denied {
            error.retry_after = Some(retry_after);
        }
        error
    }
}

/// Counts a request as in flight for as long as it lives; also one whose client hangs up.
#[derive(Debug)]
struct Measured {
    begun: Instant,
}

impl Measured {
    fn begin() -> Self {
        metric::HTTP_IN_FLIGHT.gauge().increment(1.0);
        Self {
            begun: Instant::now(),
        }
    }

    fn end(self, outcome: &'static str) {
        metric::HTTP_REQUESTS.outcome(outcome).increment(1);
        metric::HTTP_SECONDS
            .histogram()
            .record(self.begun.elapsed());
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        metric::HTTP_IN_FLIGHT.gauge().decrement(1.0);
    }
}
