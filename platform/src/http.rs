//! Serving HTTP to anybody: what axum's own server leaves out is how long a client may take and how many there may be.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::shutdown::CancellationToken;
use crate::tls::Acceptor;

/// What connections may cost.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionLimits {
    /// Connections at once; more are closed at once
    #[arg(
        long,
        env = "MUSTER_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "20000"
    )]
    pub max_connections: usize,
    /// Connections of one address at once, or of one /64 network of IPv6; absent: as many as in all, as suits a load
    /// balancer in front
    #[arg(long, env = "MUSTER_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub max_connections_per_address: Option<usize>,
    /// How long the head of a request may take, and how long a connection may wait for its next request
    #[arg(long, env = "MUSTER_HEADER_TIMEOUT", value_name = "SECONDS", value_parser = seconds, default_value = "15")]
    pub header_timeout: Duration,
}

/// The read buffer of a connection, which bounds the head of a request.
const READ_AHEAD: usize = 32 * 1024;
/// A connection whose peer acknowledges nothing for this long is closed: a client that never reads would stay for ever.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long accepting pauses when the process has no file descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1, over TLS where there is an acceptor, until `shutdown`, then waits for the requests in flight.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Acceptor>,
    routes: Router,
    limits: &ConnectionLimits,
    shutdown: CancellationToken,
) {
    allow_files(limits.max_connections);
    let connections = Arc::new(Connections::new(limits));
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(READ_AHEAD);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Some(admitted) = Connections::admit(&connections, peer.ip()) else {
            tracing::debug!(%peer, "too many connections");
            continue;
        };
        set_options(&stream);
        let service = TowerToHyperService::new(routes.clone());
        let (builder, tls, watcher) = (builder.clone(), tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let served = async {
                // Boxed, so that a connection without TLS has no room for it: idle ones are many.
                match tls {
                    None => Box::pin(serve_one(&builder, stream, service, watcher)).await?,
                    Some(tls) => {
                        let stream = Box::pin(tls.accept(stream)).await?;
                        Box::pin(serve_one(&builder, stream, service, watcher)).await?;
                    }
                }
                anyhow::Ok(())
            };
            if let Err(error) = served.await {
                tracing::debug!(%peer, %error, "a connection failed");
            }
            drop(admitted);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn serve_one(
    builder: &Builder,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    service: TowerToHyperService<Router>,
    watcher: Watcher,
) -> hyper::Result<()> {
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    watcher.watch(connection).await
}

/// Each connection is an open file, of which Linux allows a process 1,024 until it asks for more.
fn allow_files(connections: usize) {
    const OTHERS: u64 = 256;
    let wanted = connections as u64 + OTHERS;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(allowed, most)| {
        if allowed < wanted {
            setrlimit(Resource::RLIMIT_NOFILE, wanted.min(most), most)?;
        }
        Ok(most)
    });
    match raised {
        Ok(most) if most >= wanted => {}
        Ok(most) => tracing::warn!(
            connections,
            open_files = most,
            "the system allows this process fewer open files than connections"
        ),
        Err(error) => tracing::warn!(%error, "cannot ask for more open files"),
    }
}

fn set_options(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
    }
    let milliseconds = UNREAD_TIMEOUT.as_millis() as u32;
    if let Err(error) = setsockopt(stream, TcpUserTimeout, &milliseconds) {
        tracing::debug!(%error, "a connection keeps no TCP user timeout");
    }
}

/// How many there are, in all and by network.
#[derive(Debug)]
struct Connections {
    most: usize,
    most_of_one: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    in_all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// A connection that counts as long as this lives.
#[derive(Debug)]
struct Admitted {
    connections: Arc<Connections>,
    network: IpAddr,
}

impl Connections {
    fn new(limits: &ConnectionLimits) -> Self {
        Self {
            most: limits.max_connections,
            most_of_one: limits
                .max_connections_per_address
                .unwrap_or(limits.max_connections),
            open: Mutex::default(),
        }
    }

    fn admit(connections: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let network = network(address);
        let mut open = connections
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let of_network = open.by_network.get(&network).copied().unwrap_or(0);
        if open.in_all >= connections.most || of_network >= connections.most_of_one {
            return None;
        }
        open.in_all += 1;
        open.by_network.insert(network, of_network + 1);
        Some(Admitted {
            connections: Arc::clone(connections),
            network,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let open = self.connections.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        open.in_all -= 1;
        if let Some(count) = open.by_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.by_network.remove(&self.network);
            }
        }
    }
}

/// What one customer has: an IPv4 address, or a /64 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        address => address,
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("more than 0 seconds, please".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";

    /// Where it serves; ends with the token.
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
        }
    }

    /// What comes until the other side closes, within a minute.
    async fn read_to_end(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let ended = tokio::time::timeout(Duration::from_secs(60), reading).await;
        // A connection that is closed at once may end in a reset.
        drop(ended.expect("the connection is closed"));
        String::from_utf8_lossy(&answer).into_owned()
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

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
