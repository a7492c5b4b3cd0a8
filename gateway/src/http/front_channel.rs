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

/// How soon after a failed attempt the next connection to front is tried.
const CONNECT_AGAIN: Duration = Duration::from_millis(100);

/// A channel to front. While front cannot be connected to, for example because it restarts, requests wait.
///
/// A request with an `Arc<ByteReservation>` among its extensions keeps that until its last byte was
/// sent, and no longer: the answer may take minutes.
#[derive(Debug, Clone)]
pub struct FrontChannel {
    channel: Channel,
    /// How long a request waits.
    wait: Duration,
}

/// A request's body until somebody reads it.
type Unread = Arc<Mutex<Option<axum::body::Body>>>;

/// Bytes on their way, and what they count against.
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
                // Front cannot have seen a request that nobody read.
                if answered.is_ok() || is_read(&unread) || Instant::now() >= give_up_at {
                    return answered;
                }
                tokio::time::sleep(CONNECT_AGAIN).await;
            }
        })
    }
}

fn is_read(body: &Unread) -> bool {
    body.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_none()
}

/// The same bytes. The body is taken when the first of them is asked for, and stays where it is if none ever is.
fn readable(body: Unread) -> Body {
    let take = async move {
        let taken = body.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_default().into_data_stream()
    };
    let chunks = futures::stream::once(take).flatten();
    Body::new(axum::body::Body::from_stream(chunks))
}

/// The HTTP/2 connection takes a message as a whole and sends it bit by bit, so the body ends long before its bytes do.
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
