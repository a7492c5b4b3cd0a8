//! A TCP proxy that cuts, delays and halves the connections through it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

const CHUNK: usize = 16 * 1024;

/// One proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    _end: DropGuard,
}

/// What happens to the bytes.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Connections that began before the last cut are over.
    cuts: u64,
    delay: Duration,
    held: Option<Direction>,
}

/// A connection's direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

impl Proxy {
    /// Listens on a free port of the loopback interface, and connects to `server` for each connection.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, states) = watch::channel(State::default());
        let end = CancellationToken::new();
        let ended = end.clone();
        tokio::spawn(async move {
            while let Some(Ok((client, _))) = ended.run_until_cancelled(listener.accept()).await {
                let states = states.clone();
                let (ended, server) = (ended.clone(), server);
                tokio::spawn(async move {
                    ended
                        .run_until_cancelled(join(client, server, states))
                        .await
                });
            }
        });
        Ok(Self {
            address,
            state,
            _end: end.drop_guard(),
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections. New ones are possible at once.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Delays what is read from now on. Zero ends it.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Holds the bytes of one direction back until [`Proxy::cut`] and [`Proxy::hold`] with `None`.
    pub fn hold(&self, direction: Option<Direction>) {
        self.state.send_modify(|state| state.held = direction);
    }
}

/// Copies both directions until both have ended, one fails, or the connection is cut.
async fn join(mut client: TcpStream, server: SocketAddr, mut states: watch::Receiver<State>) {
    let born = states.borrow_and_update().cuts;
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    // Small requests must not wait for each other's acknowledgement.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let copying = async {
        tokio::try_join!(
            copy(from_client, to_server, Direction::ToServer, states.clone()),
            copy(from_server, to_client, Direction::ToClient, states.clone()),
        )
    };
    let mut cuts = states.clone();
    tokio::select! {
        _ = copying => {}
        _ = cuts.wait_for(|state| state.cuts > born) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    mut states: watch::Receiver<State>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await?;
        let flowing = states.wait_for(|state| state.held != Some(direction)).await;
        let delay = flowing.map_or(Duration::ZERO, |state| state.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a proxy before a server that sends everything back.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Proxy::start(address).await.unwrap()
    }

    async fn exchange(stream: &mut TcpStream) -> std::io::Result<[u8; 4]> {
        stream.write_all(b"ping").await?;
        let mut echoed = [0; 4];
        stream.read_exact(&mut echoed).await?;
        Ok(echoed)
    }

    #[tokio::test]
    async fn a_cut_ends_connections_and_new_ones_work() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(&exchange(&mut stream).await.unwrap(), b"ping");
        proxy.cut();
        assert!(exchange(&mut stream).await.is_err());
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(&exchange(&mut stream).await.unwrap(), b"ping");
    }

    #[tokio::test]
    async fn a_held_direction_flows_again_after_the_hold() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        exchange(&mut stream).await.unwrap();
        proxy.hold(Some(Direction::ToClient));
        stream.write_all(b"ping").await.unwrap();
        let mut echoed = [0; 4];
        let reading = stream.read_exact(&mut echoed);
        let held = tokio::time::timeout(Duration::from_millis(50), reading).await;
        assert!(held.is_err(), "the bytes came through");
        proxy.hold(None);
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"ping");
    }
}
