use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use photo::DecodeLimits;
use proto::v1::recognizer_server::Recognizer;
use proto::v1::{RecognizeRequest, RecognizeResponse};
use proto::{FileName, JobId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::backend::Backend;
use super::gate::Admission;
use super::grpc_timeout;
use super::inspect::Photo;
use super::turn::Turn;
use super::waiting::Waiting;
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// The trailer in which front names the job of a request that failed. Ids that clients send are ignored.
pub const REQUEST_ID_METADATA: &str = "x-request-id";

/// A little less than the client's own patience, so that our answer comes before its timer.
const ANSWER_EARLIER: Duration = Duration::from_millis(100);

/// What one front accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_image_bytes: usize,
    pub decode: DecodeLimits,
    pub deadline: Duration,
}

/// The service `muster.v1.Recognizer`; it stands behind a [`Gate`](super::gate::Gate).
#[derive(Debug)]
pub struct RecognizerService {
    limits: Limits,
    waiting: Arc<Waiting>,
    backend: Arc<OnceLock<Backend>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl RecognizerService {
    /// Refuses with `UNAVAILABLE` until `backend` is set and from `shutdown` on. Accepted requests are tasks of
    /// `tasks`: they go on when their client hangs up.
    #[must_use]
    pub fn new(
        limits: Limits,
        waiting: Arc<Waiting>,
        backend: Arc<OnceLock<Backend>>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            limits,
            waiting,
            backend,
            tasks,
            shutdown,
        }
    }

    /// Everything that can refuse a request before anything of it is stored.
    async fn accept(&self, request: Request<RecognizeRequest>) -> Result<Turn, RequestError> {
        let accepted_at = Instant::now();
        let backend = match self.backend.get() {
            Some(backend) if !self.shutdown.is_cancelled() => backend.clone(),
            Some(_) => return Err(unavailable("the service is shutting down")),
            None => return Err(unavailable("the service is starting")),
        };
        let (metadata, mut extensions, message) = request.into_parts();
        let admission: Admission = extensions.remove().ok_or_else(|| {
            RequestError::new(ErrorCode::Internal, "the request was not admitted")
        })?;
        let RecognizeRequest { file_name, image } = message;
        let file_name = FileName::parse(&file_name)?;
        self.check_size(&image)?;
        let photo = inspect(image, self.limits.decode).await?;
        metric::FRONT_PHOTO_BYTES
            .counter()
            .increment(photo.bytes.len() as u64);

        let deadline = admission.begun + self.patience(&metadata);
        let (id, reply) = self.waiting.accept(accepted_at, deadline);
        Ok(Turn {
            id,
            file_name,
            photo,
            accepted_at,
            deadline,
            reply,
            waiting: Arc::clone(&self.waiting),
            backend,
            admission,
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

    fn patience(&self, metadata: &MetadataMap) -> Duration {
        let of_client = grpc_timeout::of(metadata).map(|t| t.saturating_sub(ANSWER_EARLIER));
        of_client.map_or(self.limits.deadline, |patience| {
            patience.min(self.limits.deadline)
        })
    }
}

#[tonic::async_trait]
impl Recognizer for RecognizerService {
    async fn recognize(
        &self,
        request: Request<RecognizeRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        let turn = match self.accept(request).await {
            Ok(turn) => turn,
            Err(error) => {
                metric::FRONT_REQUESTS
                    .outcome(error.code.name())
                    .increment(1);
                return Err(error.into());
            }
        };
        let id = turn.id;
        let answer = self.tasks.spawn(async move {
            let accepted_at = turn.accepted_at;
            let answer = turn.run().await;
            let outcome = answer
                .as_ref()
                .map_or_else(|error| error.code.name(), |_| "ok");
            metric::FRONT_REQUESTS.outcome(outcome).increment(1);
            metric::FRONT_SECONDS
                .histogram()
                .record(accepted_at.elapsed());
            answer
        });
        let answer = answer
            .await
            .unwrap_or_else(|_| Err(RequestError::new(ErrorCode::Internal, "the request failed")));
        answer.map(Response::new).map_err(|error| failed(error, id))
    }
}

/// Hashing and reading headers of ten megabytes takes tens of milliseconds: not on a thread that serves others.
async fn inspect(image: Bytes, limits: DecodeLimits) -> Result<Photo, RequestError> {
    let inspected = tokio::task::spawn_blocking(move || Photo::inspect(image, &limits)).await;
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
