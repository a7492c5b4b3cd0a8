use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use platform::access::{Role, called_with, presented_key};
use platform::token::Token;
use proto::JobId;
use proto::v1::{RecognizeRequest, RecognizeResponse};
use tonic::Status;

use super::Gateway;
use super::response::ResponseFormat;
use super::upload::{self, Upload, UploadLimits};
use crate::error::RequestError;
use crate::front::REQUEST_ID_METADATA;
use crate::metric;

/// Handles `POST /`.
pub async fn recognize(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let timer = RequestTimer::start();
    let format = ResponseFormat::accepted_by(request.headers());
    match gateway.forward(request).await {
        Ok(response) => {
            timer.stop("ok");
            format.recognized(response)
        }
        Err(Failed { error, job }) => {
            let id = job.unwrap_or_else(JobId::random);
            tracing::info!(request_id = %id, code = error.code.name(), %error, "refused or failed");
            timer.stop(error.code.name());
            format.error(&error, Some(id))
        }
    }
}

impl Gateway {
    /// Receives the upload and calls front with it.
    async fn forward(&self, request: Request) -> Result<RecognizeResponse, Failed> {
        if let Err(denied) = self.authenticator.check(request.headers(), Role::Recognize) {
            let (parts, body) = request.into_parts();
            upload::discard_unread(&parts.headers, body.into_data_stream()).await;
            return Err(Status::from(denied).into());
        }
        let key = presented_key(request.headers()).and_then(|key| Token::parse(key).ok());
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
        // Front checks the key again.
        let mut request = called_with(key.as_ref(), message);
        request.set_timeout(self.config.deadline);
        request
            .extensions_mut()
            .insert(Arc::new(upload.reservation));
        let answered = self.front.clone().recognize(request).await?;
        Ok(answered.into_inner())
    }
}

/// An error, with the job if front made one.
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

/// Counts a request as in flight until it is dropped, also when the client disconnects.
#[derive(Debug)]
struct RequestTimer {
    started: Instant,
}

impl RequestTimer {
    fn start() -> Self {
        metric::HTTP_IN_FLIGHT.gauge().increment(1.0);
        Self {
            started: Instant::now(),
        }
    }

    fn stop(self, outcome: &'static str) {
        metric::HTTP_REQUESTS.outcome(outcome).increment(1);
        metric::HTTP_SECONDS
            .histogram()
            .record(self.started.elapsed());
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        metric::HTTP_IN_FLIGHT.gauge().decrement(1.0);
    }
}
