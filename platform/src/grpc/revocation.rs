//! Ends the streams of callers whose API key is removed.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, Either, Fuse};
use futures::{FutureExt, TryFutureExt};
use http::{HeaderMap, Request, Response};
use hyper::body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use crate::access::{Denied, Grant};

/// Services whose responses end when the [`Grant`] among the extensions of their request is revoked.
#[derive(Debug, Clone)]
pub struct Revocable(pub Routes);

impl Service<Request<Body>> for Revocable {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        <Routes as Service<Request<Body>>>::Future,
        BoxFuture<'static, Result<Response<Body>, Infallible>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, mut call: Request<Body>) -> Self::Future {
        let grant = call.extensions_mut().remove::<Grant>();
        let response = self.0.call(call);
        let Some(grant) = grant else {
            return Either::Left(response);
        };
        let revoked = grant.revoked().boxed().fuse();
        let revocable = |body| Body::new(RevocableBody { body, revoked });
        Either::Right(response.map_ok(|response| response.map(revocable)).boxed())
    }
}

struct RevocableBody {
    body: Body,
    revoked: Fuse<BoxFuture<'static, Denied>>,
}

impl hyper::body::Body for RevocableBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(denied) = self.revoked.poll_unpin(cx) else {
            return Pin::new(&mut self.body).poll_frame(cx);
        };
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        let added = Status::from(denied).add_header(&mut trailers);
        Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))))
    }

    /// A response without a body, as that of a refused call, stays one.
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
