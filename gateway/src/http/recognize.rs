use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use platform::access::{Role, called_with, presented_key};
use platform::token::Token;
use proto::JobId;
use proto::v1::{RecognizeRequest, RecognizeResponse};
use tonic::Status;

use super::Gateway;
use super::cross_site::refuse_cross_site;
use super::response::ResponseFormat;
use super::traffic::Traffic;
use super::upload::{self, Upload, UploadLimits};
use crate::error::{ErrorCode, RequestError};
use crate::front::REQUEST_ID_METADATA;
use crate::metric;

/// Handles `POST /`.
pub async fn recognize(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let timer = RequestTimer::start(&gateway.traffic);
    let format = ResponseFormat::accepted_by(request.headers());
    match gateway.forward(request).await {
        Ok(response) => {
            timer.stop(Ok(()));
            format.recognized(response)
        }
        Err(Failed { error, job }) => {
            let id = job.unwrap_or_else(JobId::random);
            tracing::info!(request_id = %id, code = error.code.name(), %error, "refused or failed");
            timer.stop(Err(error.code));
            format.error(&error, Some(id))
        }
    }
}

impl Gateway {
    /// Receives the upload and calls front with it.
    async fn forward(&self, request: Request) -> Result<RecognizeResponse, Failed> {
        if let Err(error) = self.admit(request.headers()) {
            let (parts, body) = request.into_parts();
            upload::discard_unread(&parts.headers, body.into_data_stream()).await;
            return Err(error.into());
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

    fn admit(&self, headers: &HeaderMap) -> Result<(), RequestError> {
        refuse_cross_site(headers)?;
        let allowed = self.authenticator.check(headers, Role::Recognize);
        Ok(allowed.map_err(Status::from)?)
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
struct RequestTimer<'a> {
    started: Instant,
    traffic: &'a Traffic,
}

impl<'a> RequestTimer<'a> {
    fn start(traffic: &'a Traffic) -> Self {
        metric::HTTP_IN_FLIGHT.gauge().increment(1.0);
        traffic.begin();
        Self {
            started: Instant::now(),
            traffic,
        }
    }

    fn stop(self, outcome: Result<(), ErrorCode>) {
        let elapsed = self.started.elapsed();
        match outcome {
            Ok(()) => self.traffic.answered(elapsed),
            Err(_) => self.traffic.failed(),
        }
        let label = outcome.map_or_else(ErrorCode::name, |()| "ok");
        metric::HTTP_REQUESTS.outcome(label).increment(1);
        metric::HTTP_SECONDS.histogram().record(elapsed);
    }
}

impl Drop for RequestTimer<'_> {
    fn drop(&mut self) {
        metric::HTTP_IN_FLIGHT.gauge().decrement(1.0);
        self.traffic.end();
    }
}
