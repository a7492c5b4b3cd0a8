use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{Request, Response};
use bytes::Bytes;
use futures::TryStreamExt;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;

use crate::byte_budget::ByteReservation;

/// A channel to front. A request with an `Arc<ByteReservation>` among its extensions keeps that until its last byte was
/// sent, and no longer: the answer may take minutes.
#[derive(Debug, Clone)]
pub struct FrontChannel {
    channel: Channel,
}

/// Bytes on their way, and what they count against.
struct Counted {
    bytes: Bytes,
    _reservation: Arc<ByteReservation>,
}

impl FrontChannel {
    pub fn new(channel: Channel) -> Self {
        Self { channel }
    }
}

impl Service<Request<Body>> for FrontChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(reservation) = request.extensions_mut().remove::<Arc<ByteReservation>>() {
            request = request.map(|body| counted(body, reservation));
        }
        self.channel.call(request)
    }
}

/// The HTTP/2 connection takes a message as a whole and sends it bit by bit, so the body ends long before its bytes do.
fn counted(body: Body, reservation: Arc<ByteReservation>) -> Body {
    let chunks = axum::body::Body::new(body).into_data_stream();
    let chunks = chunks.map_ok(move |bytes| {
        Bytes::from_owner(Counted {
            bytes,
            _reservation: Arc::clone(&reservation),
        })
    });
    Body::new(axum::body::Body::from_stream(chunks))
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
