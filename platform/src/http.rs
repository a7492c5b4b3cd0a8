//! An HTTP/1.1 server with the limits on time and connections that axum's own server lacks.

mod head_timer;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::connections::{Limits, Listener};
use crate::duration::parse_positive;
use crate::shutdown::CancellationToken;
use crate::tls::Acceptor;
use head_timer::{HeadTimer, Requests};

/// Limits on the connections of an HTTP server.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionLimits {
    /// Open connections; further ones are closed at once
    #[arg(
        long,
        env = "MUSTER_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "20000"
    )]
    pub max_connections: usize,
    /// Open connections of one IPv4 address or IPv6 /64 network. Behind a load balancer, all have its address
    /// [default: no limit]
    #[arg(long, env = "MUSTER_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub max_connections_per_address: Option<usize>,
    /// Longest time for the head of a request
    #[arg(long, env = "MUSTER_HEADER_TIMEOUT", value_name = "DURATION", value_parser = parse_positive, default_value = "15s")]
    pub header_timeout: Duration,
    /// Longest time that a connection waits for its next request. A client that keeps connections must give them up earlier: a
    /// request that meets the end of its connection is lost. Load balancers keep them for 60 s
    #[arg(long, env = "MUSTER_IDLE_TIMEOUT", value_name = "DURATION", value_parser = parse_positive, default_value = "75s")]
    pub idle_timeout: Duration,
}

impl ConnectionLimits {
    fn limits(&self) -> Limits {
        Limits {
            total: self.max_connections,
            per_address: self
                .max_connections_per_address
                .unwrap_or(self.max_connections),
        }
    }
}

/// The read buffer of a connection, which bounds the head of a request.
const READ_BUFFER: usize = 32 * 1024;

/// Serves HTTP/1.1, over TLS with an acceptor, until `shutdown`. Then waits for the requests in flight.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Acceptor>,
    routes: Router,
    limits: &ConnectionLimits,
    shutdown: CancellationToken,
) {
    let listener = Listener::new(listener, limits.limits());
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        // Of the connections that HeadTimer lets wait.
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(READ_BUFFER);
    let header_timeout = limits.header_timeout;
    let graceful = GracefulShutdown::new();
    while let Some((stream, peer)) = shutdown.run_until_cancelled(listener.accept()).await {
        let service = TowerToHyperService::new(routes.clone());
        let (builder, tls, watcher) = (builder.clone(), tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let served = async {
                // Boxed, so that an idle connection without TLS reserves no memory for TLS.
                match tls {
                    None => {
                        Box::pin(serve_one(
                            &builder,
                            stream,
                            header_timeout,
                            service,
                            watcher,
                        ))
                        .await?
                    }
                    Some(tls) => {
                        let stream = Box::pin(tls.accept(stream)).await?;
                        let serving = serve_one(&builder, stream, header_timeout, service, watcher);
                        Box::pin(serving).await?;
                    }
                }
                anyhow::Ok(())
            };
            if let Err(error) = served.await {
                tracing::debug!(%peer, %error, "a connection failed");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn serve_one(
    builder: &Builder,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    header_timeout: Duration,
    service: TowerToHyperService<Router>,
    watcher: Watcher,
) -> hyper::Result<()> {
    let requests = Arc::new(Requests::default());
    let stream = HeadTimer::new(stream, header_timeout, Arc::clone(&requests));
    let counted = service_fn(move |request| {
        requests.begin();
        let (answering, requests) = (service.call(request), Arc::clone(&requests));
        async move {
            let answer = answering.await;
            requests.end();
            answer
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), counted);
    watcher.watch(connection).await
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";

    /// Returns the server's address, and the token that stops it.
    async fn served(limits: ConnectionLimits) -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let routes = Router::new().route("/", get(async || "hello"));
        tokio::spawn(async move { serve(listener, None, routes, &limits, shutdown).await });
        (address, stop)
    }

    fn limits(most: usize, of_one: Option<usize>, header_timeout: Duration) -> ConnectionLimits {
        ConnectionLimits {
            max_connections: most,
            max_connections_per_address: of_one,
            header_timeout,
            idle_timeout: header_timeout,
        }
    }

    /// Reads until the server closes the connection, for up to a minute.
    async fn read_to_end(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let ended = tokio::time::timeout(Duration::from_secs(60), reading).await;
        // A connection that is closed at once may end in a reset.
        drop(ended.expect("the connection is closed"));
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn answered(stream: &mut TcpStream) {
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            answer.push(stream.read_u8().await.unwrap());
        }
    }

    #[tokio::test]
    async fn slow_heads_and_idle_connections_are_closed() {
        let (address, _stop) = served(limits(10, None, Duration::from_secs(1))).await;
        let began = Instant::now();
        let silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(REQUEST).await.unwrap();
        assert!(!read_to_end(silent).await.contains("hello"));
        assert!(!read_to_end(slow).await.contains("hello"));
        assert!(read_to_end(idle).await.ends_with("hello"));
        assert!(began.elapsed() >= Duration::from_secs(1));
    }

    /// It was closed after the time for a head, which a client with a pool of connections noticed by a lost request.
    #[tokio::test]
    async fn an_idle_connection_outlives_the_header_timeout() {
        let limits = ConnectionLimits {
            idle_timeout: Duration::from_secs(3600),
            ..limits(10, None, Duration::from_millis(100))
        };
        let (address, _stop) = served(limits).await;
        let mut pooled = TcpStream::connect(address).await.unwrap();
        answered(&mut pooled).await;
        // Opened later and closed for its head, so that the first one has been idle for longer.
        for _ in 0..2 {
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
            assert_eq!(read_to_end(slow).await, "");
        }
        answered(&mut pooled).await;
        answered(&mut pooled).await;
        // The head of its next request has to be as quick as that of the first.
        pooled.write_all(b"GET / HT").await.unwrap();
        assert_eq!(read_to_end(pooled).await, "");
    }

    #[tokio::test]
    async fn more_connections_than_the_limit_are_closed_at_once() {
        for limits in [
            limits(2, None, Duration::from_secs(3600)),
            limits(10, Some(2), Duration::from_secs(3600)),
        ] {
            let (address, _stop) = served(limits).await;
            let mut open = Vec::new();
            for _ in 0..2 {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(REQUEST).await.unwrap();
                let mut answer = [0; 15];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"HTTP/1.1 200 OK");
                open.push(stream);
            }
            let mut refused = TcpStream::connect(address).await.unwrap();
            // The other side may have closed already.
            drop(refused.write_all(REQUEST).await);
            assert_eq!(read_to_end(refused).await, "");
            open.pop();
            let answered = async {
                loop {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    drop(stream.write_all(REQUEST).await);
                    let mut answer = [0; 15];
                    if stream.read_exact(&mut answer).await.is_ok() {
                        return;
                    }
                }
            };
            let freed = tokio::time::timeout(Duration::from_secs(60), answered).await;
            freed.expect("a connection that ended makes room");
        }
    }

    #[tokio::test]
    async fn shutdown_ends_idle_connections() {
        let (address, stop) = served(limits(2, None, Duration::from_secs(3600))).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        stop.cancel();
        assert!(read_to_end(stream).await.ends_with("hello"));
    }
}
