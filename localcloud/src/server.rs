//! Connections: accepted until the caller has had enough, and dropped with whatever they wait for.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::router::Router;

/// Serves for ever. Dropping the future closes every connection.
pub async fn serve(listener: TcpListener, router: Arc<Router>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&router)));
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

async fn serve_connection(stream: TcpStream, router: Arc<Router>) {
    // Answers are small, and clients wait for them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| Arc::clone(&router).answer(request));
    // hyper drops a request's future when its client hangs up: a long poll ends there.
    if let Err(error) = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        debug!(%error, "connection ended");
    }
}
