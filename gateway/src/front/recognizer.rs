use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use photo::DecodeLimits;
use platform::telemetry::trace;
use platform::trace_span;
use proto::v1::recognizer_server::Recognizer;
use proto::v1::{GetResultRequest, RecognizeRequest, RecognizeResponse};
use proto::{FileName, JobId};
use tokio::sync::oneshot;
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
use super::kept_results;
use super::registry::RequestRegistry;
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// The trailer with the job id of a failed request. A client's own is ignored: proxies and retries send the same one again, and
/// a reply to an earlier job must not match.
pub const REQUEST_ID_METADATA: &str = "x-request-id";
/// The metadata in which the gateway gives the id of a call, a new one for each.
pub const CHOSEN_ID_METADATA: &str = "muster-request-id";

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
        let id = chosen_id(&metadata)?.unwrap_or_else(JobId::random);
        let reply = self.registry.accept(id, accepted_at, deadline);
        let reply = reply.ok_or_else(|| {
            RequestError::new(ErrorCode::BadRequest, "this request id was used already")
        })?;
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
        // Before the check for a shutdown, which waits for all tokens.
        let _token = self.tasks.token();
        let accepted = match self.accept(request).await {
            Ok(accepted) => accepted,
            Err(error) => {
                metric::FRONT_REQUESTS.of(error.code.name()).increment(1);
                return Err(error.into());
            }
        };
        let (id, stem) = (accepted.id, accepted.file_name.stem().to_owned());
        let kept = accepted.backend.kept_results.clone();
        let traced = Span::current();
        traced.record("muster.request_id", display(id));
        let trace_id = trace::trace_id().map(display);
        let span = tracing::error_span!("request", request_id = %id, trace_id);
        let (answered, answer) = oneshot::channel();
        let answering = async move {
            let accepted_at = accepted.accepted_at;
            // Boxed: a task is copied several times on its way to the runtime.
            let reply = Box::pin(accepted.run()).await;
            let result = reply.clone().ok();
            let answer = reply.and_then(|(outcome, timings)| {
                kept_results::answer(id, stem.clone(), outcome, timings)
            });
            let outcome = answer
                .as_ref()
                .map_or_else(|error| error.code.name(), |_| "ok");
            metric::FRONT_REQUESTS.of(outcome).increment(1);
            metric::FRONT_SECONDS.get().record(accepted_at.elapsed());
            let is_undelivered = answered.send(answer).is_err();
            tracing::debug!(outcome, is_undelivered, "answered");
            if let Some((outcome, timings)) = result
                && is_undelivered
            {
                kept.keep_undelivered(id, stem, outcome, timings).await;
            }
        };
        self.tasks
            .spawn(answering.instrument(span).instrument(traced));
        let answer = answer
            .await
            .unwrap_or_else(|_| Err(RequestError::new(ErrorCode::Internal, "the request failed")));
        answer.map(Response::new).map_err(|error| failed(error, id))
    }

    async fn get_result(
        &self,
        request: Request<GetResultRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        let found = async {
            let id = request.get_ref().request_id.parse::<JobId>();
            let id = id.map_err(|_| {
                RequestError::new(ErrorCode::NotFound, "this is not the id of a request")
            })?;
            let backend = self.backend.get();
            let backend = backend.ok_or_else(|| unavailable("the service is starting"))?;
            backend.kept_results.find(id).await
        };
        Ok(Response::new(found.await?))
    }
}

/// Bytes of a photo that are inspected in less time than another thread takes to wake.
const SMALL_PHOTO: usize = 32 * 1024;

/// Returns the id that the caller gives its call.
fn chosen_id(metadata: &MetadataMap) -> Result<Option<JobId>, RequestError> {
    let Some(id) = metadata.get(CHOSEN_ID_METADATA) else {
        return Ok(None);
    };
    let id = id.to_str().ok().and_then(|text| text.parse().ok());
    let message = format!("{CHOSEN_ID_METADATA} is not a UUID");
    id.map(Some)
        .ok_or_else(|| RequestError::new(ErrorCode::BadRequest, message))
}

/// Inspects a large photo on a blocking thread: ten megabytes take tens of milliseconds.
async fn inspect(image: Bytes, limits: DecodeLimits) -> Result<InspectedPhoto, RequestError> {
    if image.len() <= SMALL_PHOTO {
        return InspectedPhoto::inspect(image, &limits);
    }
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

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::poll;
    use tokio::sync::Semaphore;

    use super::super::photo_store::PhotoStore;
    use super::super::reply_queue::tests::{cloud, kept_in};
    use super::super::sender::BatchSender;
    use super::*;
    use crate::byte_budget::ByteBudget;

    async fn service() -> (RecognizerService, TaskTracker, impl Drop) {
        let (deployment, end) = cloud().await;
        let queues = deployment.ensure("replies", Duration::from_secs(30)).await;
        let backend = Backend {
            photos: PhotoStore::new(deployment.aws.objects(deployment.names.in_bucket())),
            requests: BatchSender::new(queues.requests, 1),
            reply_queue: "replies".to_owned(),
            kept_results: kept_in(&deployment).await,
        };
        let limits = RequestLimits {
            max_image_bytes: 10 << 20,
            decode: DecodeLimits::default(),
            deadline: Duration::from_secs(60),
        };
        let tasks = TaskTracker::new();
        let service = RecognizerService::new(
            limits,
            Arc::new(RequestRegistry::default()),
            Arc::new(OnceLock::from(backend)),
            tasks.clone(),
            CancellationToken::new(),
        );
        (service, tasks, end)
    }

    async fn admitted(message: RecognizeRequest) -> Request<RecognizeRequest> {
        let in_flight = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let memory = ByteBudget::new(10 << 20).reserve(1).unwrap();
        let mut request = Request::new(message);
        request.extensions_mut().insert(AdmissionPermit {
            begun: Instant::now(),
            in_flight: Arc::new(in_flight),
            memory: Arc::new(memory),
        });
        request
    }

    /// Front ended while it read the photo, and the photo was sent to workers whose reply found no front.
    #[tokio::test]
    async fn shutdown_waits_for_a_photo_that_is_being_inspected() {
        let (service, tasks, _end) = service().await;
        let message = RecognizeRequest {
            file_name: "a.jpg".to_owned(),
            image: vec![0; 10 << 20].into(),
        };
        let mut call = std::pin::pin!(service.recognize(admitted(message).await));
        assert!(poll!(&mut call).is_pending(), "the photo is being read");
        tasks.close();
        let mut drained = std::pin::pin!(tasks.wait());
        assert_eq!(poll!(&mut drained), Poll::Pending);
        assert!(call.await.is_err());
        drained.await;
    }
}
