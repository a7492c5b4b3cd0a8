use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use photo::DecodeLimits;
use platform::telemetry::trace;
use platform::trace_span;
use proto::v1::recognizer_server::Recognizer;
use proto::v1::{RecognizeRequest, RecognizeResponse};
use proto::{FileName, JobId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::field::display;
use tracing::{Instrument, Span};

use super::accepted::AcceptedRequest;
use super::admission::AdmissionPermit;
use super::backend::Backend;
use super::grpc_timeout;
use super::inspect::InspectedPhoto;
use super::registry::RequestRegistry;
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// The trailer with the job id of a failed request. Ids that clients send are ignored.
pub const REQUEST_ID_METADATA: &str = "x-request-id";

/// Subtracted from the client's timeout, so that front's error arrives before it.
const TIMEOUT_MARGIN: Duration = Duration::from_millis(100);

/// Limits on one request.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    pub max_image_bytes: usize,
    pub decode: DecodeLimits,
    pub deadline: Duration,
}

/// The service `muster.v1.Recognizer`, behind an [`AdmissionControl`](super::admission::AdmissionControl).
#[derive(Debug)]
pub struct RecognizerService {
    limits: RequestLimits,
    registry: Arc<RequestRegistry>,
    backend: Arc<OnceLock<Backend>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl RecognizerService {
    /// Calls are refused with `UNAVAILABLE` until `backend` is set, and after `shutdown`. Accepted requests run in `tasks`,
    /// also after their client has disconnected.
    #[must_use]
    pub fn new(
        limits: RequestLimits,
        registry: Arc<RequestRegistry>,
        backend: Arc<OnceLock<Backend>>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            limits,
            registry,
            backend,
            tasks,
            shutdown,
        }
    }

    /// Checks a request and registers it. Nothing is stored before.
    async fn accept(
        &self,
        request: Request<RecognizeRequest>,
    ) -> Result<AcceptedRequest, RequestError> {
        let accepted_at = Instant::now();
        let backend = match self.backend.get() {
            Some(backend) if !self.shutdown.is_cancelled() => backend.clone(),
            Some(_) => return Err(unavailable("the service is shutting down")),
            None => return Err(unavailable("the service is starting")),
        };
        let (metadata, mut extensions, message) = request.into_parts();
        let permit: AdmissionPermit = extensions.remove().ok_or_else(|| {
            RequestError::new(ErrorCode::Internal, "the request was not admitted")
        })?;
        let RecognizeRequest { file_name, image } = message;
        let file_name = FileName::parse(&file_name)?;
        self.check_size(&image)?;
        let photo = inspect(image, self.limits.decode)
            .instrument(trace_span!("inspect photo"))
            .await?;
        metric::FRONT_PHOTO_BYTES
            .get()
            .increment(photo.bytes.len() as u64);

        let deadline = permit.begun + self.timeout(&metadata);
        let (id, reply) = self.registry.accept(accepted_at, deadline);
        Ok(AcceptedRequest {
            id,
            file_name,
            photo,
            accepted_at,
            deadline,
            reply,
            registry: Arc::clone(&self.registry),
            backend,
            permit,
        })
    }

    fn check_size(&self, image: &Bytes) -> Result<(), RequestError> {
        let limit = self.limits.max_image_bytes;
        if image.is_empty() {
            return Err(RequestError::new(
                ErrorCode::BadRequest,
                "the photo is empty",
            ));
        }
        if image.len() > limit {
            let message = format!("the photo is larger than {limit} bytes");
            return Err(RequestError::new(ErrorCode::TooLarge, message));
        }
        Ok(())
    }

    fn timeout(&self, metadata: &MetadataMap) -> Duration {
        let of_client = grpc_timeout::of(metadata).map(|t| t.saturating_sub(TIMEOUT_MARGIN));
        let own = self.limits.deadline;
        of_client.map_or(own, |timeout| timeout.min(own))
    }
}

#[tonic::async_trait]
impl Recognizer for RecognizerService {
    async fn recognize(
        &self,
        request: Request<RecognizeRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        let accepted = match self.accept(request).await {
            Ok(accepted) => accepted,
            Err(error) => {
                metric::FRONT_REQUESTS.of(error.code.name()).increment(1);
                return Err(error.into());
            }
        };
        let id = accepted.id;
        let traced = Span::current();
        traced.record("muster.request_id", display(id));
        let trace_id = trace::trace_id().map(display);
        let span = tracing::error_span!("request", request_id = %id, trace_id);
        let answering = async move {
            let accepted_at = accepted.accepted_at;
            let answer = accepted.run().await;
            let outcome = answer
                .as_ref()
                .map_or_else(|error| error.code.name(), |_| "ok");
            metric::FRONT_REQUESTS.of(outcome).increment(1);
            metric::FRONT_SECONDS.get().record(accepted_at.elapsed());
            tracing::debug!(outcome, "answered");
            answer
        };
        let answer = self
            .tasks
            .spawn(answering.instrument(span).instrument(traced));
        let answer = answer
            .await
            .unwrap_or_else(|_| Err(RequestError::new(ErrorCode::Internal, "the request failed")));
        answer.map(Response::new).map_err(|error| failed(error, id))
    }
}

/// Runs on a blocking thread, since ten megabytes take tens of milliseconds.
async fn inspect(image: Bytes, limits: DecodeLimits) -> Result<InspectedPhoto, RequestError> {
    let inspected =
        tokio::task::spawn_blocking(move || InspectedPhoto::inspect(image, &limits)).await;
    inspected.unwrap_or_else(|error| {
        tracing::error!(%error, "reading a photo's header failed");
        Err(RequestError::new(
            ErrorCode::DamagedImage,
            "the image cannot be read",
        ))
    })
}

fn failed(error: RequestError, id: JobId) -> Status {
    let mut status = Status::from(error);
    let id = id.to_string().parse().expect("an id is hexadecimal");
    status.metadata_mut().insert(REQUEST_ID_METADATA, id);
    status
}

fn unavailable(message: &str) -> RequestError {
    RequestError::new(ErrorCode::Unavailable, message)
}
