//! Admission control for `Recognize`: limits on calls in flight and on memory, before a photo is read.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::BodyDataStream;
use axum::http::{Request, Response};
use bytes::{Buf, Bytes, BytesMut};
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

use crate::byte_budget::{ByteBudget, ByteReservation};
use crate::discard::discard;
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// Longest time until a call's message is read. Otherwise a client that stalls would keep others out.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A flag and the length precede every message: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
const PREFIX_BYTES: usize = 5;

/// Admits calls to a service before their messages are read.
///
/// A call beyond the limit of calls in flight is refused. An admitted call waits until there is memory for the message
/// that it announces. Only then the message is read. Waiting needs the HTTP/2 windows of `platform::grpc`: bytes of
/// waiting calls must not use up the connection's window.
#[derive(Debug, Clone)]
pub struct AdmissionControl<S> {
    service: S,
    limits: AdmissionLimits,
}

/// The resources of one call. The service finds it in the request's extensions.
#[derive(Debug, Clone)]
pub struct AdmissionPermit {
    /// Time of the call's head.
    pub begun: Instant,
    pub in_flight: Arc<OwnedSemaphorePermit>,
    /// Memory for the message.
    pub memory: Arc<ByteReservation>,
}

#[derive(Debug, Clone)]
struct AdmissionLimits {
    in_flight: Arc<Semaphore>,
    memory: ByteBudget,
    max_message_bytes: usize,
    upload_timeout: Duration,
}

/// A message whose beginning was read.
struct Message {
    head: Bytes,
    left: usize,
    memory: ByteReservation,
}

impl<S> AdmissionControl<S> {
    pub fn new(
        service: S,
        max_in_flight: usize,
        max_buffered_bytes: usize,
        max_message_bytes: usize,
    ) -> Self {
        let limits = AdmissionLimits {
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
            memory: ByteBudget::new(max_buffered_bytes),
            max_message_bytes,
            upload_timeout: UPLOAD_TIMEOUT,
        };
        Self { service, limits }
    }
}

impl<S: NamedService> NamedService for AdmissionControl<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for AdmissionControl<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone may not be ready, so the call takes the original.
        let next = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, next);
        let limits = self.limits.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            match limits.admit(body).await {
                Ok((permit, body)) => {
                    let mut request = Request::from_parts(parts, body);
                    request.extensions_mut().insert(permit);
                    service.call(request).await
                }
                Err(error) => {
                    metric::FRONT_REQUESTS.of(error.code.name()).increment(1);
                    Ok(Status::from(error).into_http())
                }
            }
        })
    }
}

impl AdmissionLimits {
    async fn admit(&self, body: Body) -> Result<(AdmissionPermit, Body), RequestError> {
        let begun = Instant::now();
        let until = tokio::time::Instant::now() + self.upload_timeout;
        let mut body = axum::body::Body::new(body).into_data_stream();
        let Ok(in_flight) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            discard(body).await;
            return Err(overloaded("too many requests in flight; try again"));
        };
        let message = match self.begin(&mut body, until).await {
            Ok(message) => message,
            Err(error) => {
                drop(in_flight);
                if error.code != ErrorCode::UploadTooSlow {
                    discard(body).await;
                }
                return Err(error);
            }
        };
        let permit = AdmissionPermit {
            begun,
            in_flight: Arc::new(in_flight),
            memory: Arc::new(message.memory),
        };
        Ok((permit, whole(message.head, message.left, body, until)))
    }

    /// Reads the length of the message, and waits for the memory.
    async fn begin(
        &self,
        body: &mut BodyDataStream,
        until: tokio::time::Instant,
    ) -> Result<Message, RequestError> {
        let head = timeout_at(until, read_head(body)).await;
        let head = head.map_err(|_| too_slow())??;
        // The service refuses a message without a length.
        let length = head.get(1..PREFIX_BYTES).map_or(0, |mut big_endian| {
            usize::try_from(big_endian.get_u32()).unwrap_or(usize::MAX)
        });
        if length > self.max_message_bytes {
            let message = format!(
                "the message is larger than {} bytes",
                self.max_message_bytes
            );
            return Err(RequestError::new(ErrorCode::TooLarge, message));
        }
        let left = (PREFIX_BYTES + length).checked_sub(head.len());
        let left = left.ok_or_else(more_than_one)?;
        let memory = timeout_at(until, self.memory.wait_for(length)).await;
        let memory = memory
            .map_err(|_| overloaded("too many photos are being uploaded; try again"))
            .flatten()?;
        Ok(Message { head, left, memory })
    }
}

/// Reads at least the prefix, unless the body ends earlier.
async fn read_head(body: &mut BodyDataStream) -> Result<Bytes, RequestError> {
    let mut head = BytesMut::new();
    while head.len() < PREFIX_BYTES {
        match body.next().await {
            Some(Ok(chunk)) => head.extend_from_slice(&chunk),
            Some(Err(_)) => {
                let message = "the upload broke off";
                return Err(RequestError::new(ErrorCode::BadRequest, message));
            }
            None => break,
        }
    }
    Ok(head.freeze())
}

/// Returns the body from its beginning. More than one message is an error.
fn whole(head: Bytes, left: usize, rest: BodyDataStream, until: tokio::time::Instant) -> Body {
    let rest = stream::try_unfold((rest, left), move |(mut rest, left)| async move {
        let chunk = timeout_at(until, rest.next()).await;
        let Some(chunk) = chunk.map_err(|_| too_slow())? else {
            return Ok(None);
        };
        let chunk = chunk.map_err(|error| Status::from_error(Box::new(error)))?;
        let left = left.checked_sub(chunk.len()).ok_or_else(more_than_one)?;
        Ok::<_, Status>(Some((chunk, (rest, left))))
    });
    let head = stream::once(async { Ok(head) });
    Body::new(axum::body::Body::from_stream(head.chain(rest)))
}

fn overloaded(message: &str) -> RequestError {
    RequestError::new(ErrorCode::Overloaded, message)
}

pub(super) fn too_slow() -> RequestError {
    RequestError::new(ErrorCode::UploadTooSlow, "the upload took too long")
}

fn more_than_one() -> RequestError {
    RequestError::new(ErrorCode::BadRequest, "the call has more than one message")
}

#[cfg(test)]
mod tests;
