//! Serves HTTP connections.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use crate::accept::accept;
use crate::browser;
use crate::dispatch::{ConnectionReset, Dispatcher};
use crate::protocol::AwsService;
use crate::response::plain;
use crate::s3::PeerAddress;

/// Bounds the head of a request and the idle time before it. The SDKs close their idle connections sooner.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Bound the reading of a request that got an early reply, before its connection is closed.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_LINGER_BYTES: u64 = 256 * 1024 * 1024;

/// Serves all services, or `only` one, until the future is dropped, which closes every connection.
pub async fn serve(listener: TcpListener, dispatcher: Arc<Dispatcher>, only: Option<AwsService>) {
    accept(listener, |stream| {
        serve_connection(stream, Arc::clone(&dispatcher), only)
    })
    .await;
}

async fn serve_connection(
    stream: TcpStream,
    dispatcher: Arc<Dispatcher>,
    only: Option<AwsService>,
) {
    // Clients wait for replies, which are small.
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().ok();
    let at_loopback = stream.local_addr().is_ok_and(|it| it.ip().is_loopback());
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddress(peer.ip()));
        }
        let dispatcher = Arc::clone(&dispatcher);
        Box::pin(async move {
            if browser::is_cross_site(request.headers(), at_loopback) {
                return Ok(plain(StatusCode::FORBIDDEN, browser::REFUSAL));
            }
            dispatcher.handle(request, only).await
        })
    });
    // hyper drops a request's future when its client disconnects, which ends a long poll.
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let mut stream = connection.into_parts().io.into_inner();
    let is_reset = |error: &hyper::Error| {
        std::error::Error::source(error).is_some_and(|cause| cause.is::<ConnectionReset>())
    };
    match ended {
        // Closing a connection that does not linger sends a reset.
        Err(error) if is_reset(&error) => {
            let _ = stream.set_zero_linger();
        }
        Err(error) => debug!(%error, "connection ended"),
        Ok(()) => {
            let _ = stream.shutdown().await;
            // Closing with an unread rest would reset the connection and lose the reply.
            let _ = tokio::time::timeout(LINGER_TIMEOUT, drain(&mut stream)).await;
        }
    }
}

/// Reads and discards the rest of a request, up to a bound.
async fn drain(stream: &mut TcpStream) {
    let mut rest = tokio::io::sink();
    let _ = tokio::io::copy(&mut stream.take(MAX_LINGER_BYTES), &mut rest).await;
}
