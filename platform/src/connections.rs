//! Limits on connections, in all and for each client address, shared by the HTTP and the gRPC servers.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A connection whose peer acknowledges no data for this long is closed: a client that never reads would stay forever.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept, for example when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most connections that a listener holds open at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub total: usize,
    /// For each IPv4 address or IPv6 /64 network.
    pub per_address: usize,
}

/// Accepts connections within [`Limits`] and closes the others at once.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    limiter: Arc<Limiter>,
}

/// An accepted connection, which counts against the limits until it is dropped.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    _permit: Permit,
}

#[derive(Debug)]
struct Limiter {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_network: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Permit {
    limiter: Arc<Limiter>,
    network: IpAddr,
}

impl Listener {
    /// Also raises the process's limit on open files, so that it allows `limits.total` connections.
    #[must_use]
    pub fn new(listener: TcpListener, limits: Limits) -> Self {
        raise_open_files(limits.total);
        let open = Mutex::default();
        let limiter = Arc::new(Limiter { limits, open });
        Self { listener, limiter }
    }

    /// Returns the next connection within the limits. It is safe to drop the future.
    pub async fn accept(&self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => match self.limiter.admit(peer.ip()) {
                    Some(_permit) => {
                        set_options(&stream);
                        return (Connection { stream, _permit }, peer);
                    }
                    None => tracing::debug!(%peer, "too many connections"),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Limiter {
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let network = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_network = open.by_network.get(&network).copied().unwrap_or(0);
        if open.total >= self.limits.total || of_network >= self.limits.per_address {
            return None;
        }
        open.total += 1;
        open.by_network.insert(network, of_network + 1);
        let limiter = Arc::clone(self);
        Some(Permit { limiter, network })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let open = self.limiter.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(count) = open.by_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.by_network.remove(&self.network);
            }
        }
    }
}

/// Returns the part of an address that identifies one client: the IPv4 address, or the /64 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        address => address,
    }
}

/// Linux allows a process 1,024 open files until it asks for more, and each connection is one.
fn raise_open_files(connections: usize) {
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
    let milliseconds = UNACKNOWLEDGED_TIMEOUT.as_millis() as u32;
    if let Err(error) = setsockopt(stream, TcpUserTimeout, &milliseconds) {
        tracing::debug!(%error, "a connection keeps no TCP user timeout");
    }
}

/// The methods of `AsyncWrite` for a type that only reads in a way of its own: they are those of its field `stream`.
macro_rules! write_to_stream {
    () => {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write_vectored(context, slices)
        }

        fn is_write_vectored(&self) -> bool {
            self.stream.is_write_vectored()
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    };
}
pub(crate) use write_to_stream;

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    write_to_stream!();
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
