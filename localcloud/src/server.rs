//! Connections: accepted until the caller has had enough, and dropped with whatever they wait for.

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
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::browser;
use crate::faults::Service;
use crate::respond::plain;
use crate::router::{ConnectionReset, Router};
use crate::s3::PeerAddress;

/// How long a request's head may take, and a connection may idle before it: longer than the SDKs keep idle ones.
const HEAD_TAKES_AT_MOST: Duration = Duration::from_secs(120);
/// How long, and how many bytes, of a request that was answered early are read before its connection is closed.
const LINGERS_FOR: Duration = Duration::from_secs(10);
const LINGERS_FOR_BYTES: u64 = 256 * 1024 * 1024;

/// Serves for ever: all services, or only one. Dropping the future closes every connection.
pub async fn serve(listener: TcpListener, router: Arc<Router>, only: Option<Service>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&router), only));
                }
                Err(error) => {
                    // Most likely too many open files; some will be closed in a moment.
                    warn!(%error, "connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Arc<Router>, only: Option<Service>) {
    // Answers are small, and clients wait for them.
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().ok();
    let at_loopback = stream.local_addr().is_ok_and(|it| it.ip().is_loopback());
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddress(peer.ip()));
        }
        let router = Arc::clone(&router);
        Box::pin(async move {
            if browser::is_of_another_site(request.headers(), at_loopback) {
                return Ok(plain(StatusCode::FORBIDDEN, browser::REFUSAL));
            }
            router.answer(request, only).await
        })
    });
    // hyper drops a request's future when its client hangs up: a long poll ends there.
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TAKES_AT_MOST)
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
            // Closed now, with a request half read, the connection would be reset, and its answer with it.
            let _ = tokio::time::timeout(LINGERS_FOR, read_away(&mut stream)).await;
        }
    }
}

/// Reads what still comes, to its end or up to a bound.
async fn read_away(stream: &mut TcpStream) {
    let mut rest = tokio::io::sink();
    let _ = tokio::io::copy(&mut stream.take(LINGERS_FOR_BYTES), &mut rest).await;
}
