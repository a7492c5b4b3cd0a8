use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Extension, Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use platform::access::{Role, called_with, presented_key};
use platform::telemetry::trace;
use platform::token::Token;
use platform::trace_span;
use proto::JobId;
use proto::v1::{GetResultRequest, RecognizeRequest, RecognizeResponse};
use tonic::{Code, Response as Answer, Status};
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use super::Gateway;
use super::cross_site::refuse_cross_site;
use super::response::ResponseFormat;
use super::traffic::Traffic;
use super::upload::{self, Upload, UploadLimits};
use crate::error::{ErrorCode, RequestError};
use crate::front::{CHOSEN_ID_METADATA, REQUEST_ID_METADATA};
use crate::metric;

/// Handles `GET /v1/results/<request id>`.
pub async fn find_result(
    State(gateway): State<Arc<Gateway>>,
    Path(request_id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let format = ResponseFormat::accepted_by(&headers);
    let id = request_id.parse().ok();
    match gateway.find_result(request_id, &headers).await {
        Ok(response) => format.recognized(response),
        Err(error) => {
            tracing::info!(code = error.code.name(), %error, "refused or failed");
            format.error(&error, id)
        }
    }
}

/// Handles `POST /`. The request's id is that of its job.
pub async fn recognize(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<JobId>,
    request: Request,
) -> Response {
    let trace_id = trace::trace_id().map(display);
    // The current span is the request's in the trace; the new one is that of its log lines.
    Span::current().record("muster.request_id", display(id));
    let span = tracing::error_span!("request", request_id = %id, trace_id);
    respond(gateway, request, id).instrument(span).await
}

async fn respond(gateway: Arc<Gateway>, request: Request, id: JobId) -> Response {
    let timer = RequestTimer::start(&gateway.traffic);
    let format = ResponseFormat::accepted_by(request.headers());
    match gateway.forward(request, id).await {
        Ok(response) => {
            tracing::debug!("answered");
            timer.stop(Ok(()));
            format.recognized(response)
        }
        Err(error) => {
            tracing::info!(code = error.code.name(), %error, "refused or failed");
            timer.stop(Err(error.code));
            format.error(&error, Some(id))
        }
    }
}

impl Gateway {
    /// Receives the upload and calls front with it.
    async fn forward(
        &self,
        request: Request,
        id: JobId,
    ) -> Result<RecognizeResponse, RequestError> {
        if let Err(error) = self.admit(request.headers()) {
            let (parts, body) = request.into_parts();
            upload::discard_unread(&parts.headers, body.into_data_stream()).await;
            return Err(error);
        }
        let key = presented_key(request.headers()).and_then(|key| Token::parse(key).ok());
        let limits = UploadLimits {
            max_image_bytes: self.config.max_image_bytes,
            timeout: self.config.upload_timeout,
        };
        let upload = Upload::receive(request, limits, &self.budget)
            .instrument(trace_span!("receive upload"))
            .await?;
        metric::HTTP_PHOTO_BYTES
            .get()
            .increment(upload.image.len() as u64);
        let file_name = upload.file_name.to_string();
        let message = RecognizeRequest {
            file_name,
            image: upload.image,
        };
        // Front checks the key again.
        let mut request = called_with(key.as_ref(), message);
        request.set_timeout(self.config.deadline);
        let text = id.to_string().parse().expect("an id is hexadecimal");
        request.metadata_mut().insert(CHOSEN_ID_METADATA, text);
        request
            .extensions_mut()
            .insert(Arc::new(upload.reservation));
        Ok(self.call_front(request).await?.into_inner())
    }

    async fn find_result(
        &self,
        request_id: String,
        headers: &HeaderMap,
    ) -> Result<RecognizeResponse, RequestError> {
        self.admit(headers)?;
        let key = presented_key(headers).and_then(|key| Token::parse(key).ok());
        let mut request = called_with(key.as_ref(), GetResultRequest { request_id });
        request.set_timeout(self.config.deadline);
        let found = self.front.clone().get_result(request).await;
        Ok(found?.into_inner())
    }

    async fn call_front(
        &self,
        mut request: tonic::Request<RecognizeRequest>,
    ) -> Result<Answer<RecognizeResponse>, Status> {
        let span = trace_span!(
            "muster.v1.Recognizer/Recognize",
            otel.kind = "client",
            otel.status_code = Empty,
            rpc.system = "grpc",
            rpc.service = "muster.v1.Recognizer",
            rpc.method = "Recognize",
            rpc.grpc.status_code = Empty,
        );
        let calling = async {
            if let Some(parent) = trace::traceparent() {
                let parent = parent.parse().expect("it is hexadecimal");
                request.metadata_mut().insert(trace::TRACEPARENT, parent);
            }
            self.front.clone().recognize(request).await
        };
        let answered = calling.instrument(span.clone()).await;
        let code = answered.as_ref().err().map_or(Code::Ok, Status::code);
        span.record("rpc.grpc.status_code", i32::from(code));
        if code != Code::Ok {
            span.record("otel.status_code", "error");
        }
        answered
    }

    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), RequestError> {
        refuse_cross_site(headers, self.must_be_local)?;
        let allowed = self.authenticator.check(headers, Role::Recognize);
        Ok(allowed.map_err(Status::from)?)
    }
}

/// Names the request in its further log lines.
pub(super) fn note_id(id: &str) {
    Span::current().record("request_id", id);
}

/// An error, with the id of the job, or with a new one if there is no job.
#[derive(Debug)]
pub(super) struct Failed {
    pub error: RequestError,
    pub id: JobId,
}

impl From<RequestError> for Failed {
    fn from(error: RequestError) -> Self {
        let id = JobId::random();
        note_id(&id.to_string());
        Self { error, id }
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        let id = status.metadata().get(REQUEST_ID_METADATA);
        let id = id.and_then(|id| id.to_str().ok()?.parse().ok());
        let id = id.unwrap_or_else(JobId::random);
        // Before the conversion, which logs some errors.
        note_id(&id.to_string());
        let error = RequestError::from(status);
        Self { error, id }
    }
}

/// Outcome of a request whose client left before its answer.
const GONE: &str = "gone";

/// Counts a request as in flight until it is dropped, also when the client disconnects.
#[derive(Debug)]
struct RequestTimer<'a> {
    started: Instant,
    traffic: &'a Traffic,
    has_response: bool,
}

impl<'a> RequestTimer<'a> {
    fn start(traffic: &'a Traffic) -> Self {
        metric::HTTP_IN_FLIGHT.get().increment(1.0);
        traffic.begin();
        Self {
            started: Instant::now(),
            traffic,
            has_response: false,
        }
    }

    fn stop(mut self, outcome: Result<(), ErrorCode>) {
        self.has_response = true;
        let elapsed = self.started.elapsed();
        match outcome {
            Ok(()) => self.traffic.answered(elapsed),
            Err(_) => self.traffic.failed(),
        }
        let label = outcome.map_or_else(ErrorCode::name, |()| "ok");
        metric::HTTP_REQUESTS.of(label).increment(1);
        metric::HTTP_SECONDS.get().record(elapsed);
    }
}

impl Drop for RequestTimer<'_> {
    fn drop(&mut self) {
        if !self.has_response {
            metric::HTTP_REQUESTS.of(GONE).increment(1);
            tracing::info!(code = GONE, "the client left before its answer");
        }
        metric::HTTP_IN_FLIGHT.get().decrement(1.0);
        self.traffic.end();
    }
}
