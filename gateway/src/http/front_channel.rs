//! The channel to front, which waits while front restarts.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{Request, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;

use crate::byte_budget::ByteReservation;

/// Pause before the next attempt to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A channel to front. Requests wait while front cannot be connected to, for example during its restart.
///
/// An `Arc<ByteReservation>` among a request's extensions is released when the last byte is sent: the response may take
/// minutes.
#[derive(Debug, Clone)]
pub struct FrontChannel {
    channel: Channel,
    /// Longest wait of a request.
    wait: Duration,
}

/// A request's body until it is read.
type Unread = Arc<Mutex<Option<axum::body::Body>>>;

/// Bytes to send, with their reservation.
struct Counted {
    bytes: Bytes,
    _reservation: Arc<ByteReservation>,
}

impl FrontChannel {
    pub fn new(channel: Channel, wait: Duration) -> Self {
        Self { channel, wait }
    }
}

impl Service<Request<Body>> for FrontChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let reservation = request.extensions_mut().remove::<Arc<ByteReservation>>();
        let (head, body) = request.into_parts();
        let body = match reservation {
            Some(reservation) => counted(body, reservation),
            None => axum::body::Body::new(body),
        };
        let unread: Unread = Arc::new(Mutex::new(Some(body)));
        let (mut channel, wait) = (self.channel.clone(), self.wait);
        Box::pin(async move {
            let give_up_at = Instant::now() + wait;
            loop {
                poll_fn(|context| channel.poll_ready(context)).await?;
                let request = Request::from_parts(head.clone(), readable(Arc::clone(&unread)));
                let answered = channel.call(request).await;
                // An unread request has not reached front, so that a retry is safe.
                if answered.is_ok() || is_read(&unread) || Instant::now() >= give_up_at {
                    return answered;
                }
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        })
    }
}

fn is_read(body: &Unread) -> bool {
    body.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_none()
}

/// Returns a body that takes the bytes out of `body` when it is polled first.
fn readable(body: Unread) -> Body {
    let take = async move {
        let taken = body.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_default().into_data_stream()
    };
    let chunks = futures::stream::once(take).flatten();
    Body::new(axum::body::Body::from_stream(chunks))
}

/// Attaches the reservation to each chunk. The HTTP/2 connection buffers a whole message, so that the body ends long before
/// its last byte is sent.
fn counted(body: Body, reservation: Arc<ByteReservation>) -> axum::body::Body {
    let chunks = axum::body::Body::new(body).into_data_stream();
    let chunks = chunks.map_ok(move |bytes| {
        Bytes::from_owner(Counted {
            bytes,
            _reservation: Arc::clone(&reservation),
        })
    });
    axum::body::Body::from_stream(chunks)
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
