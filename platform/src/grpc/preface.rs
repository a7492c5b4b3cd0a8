//! A limit on the time of HTTP/2's connection preface. hyper awaits it without a limit, and begins with its pings after it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use crate::connections::write_to_stream;

/// The first bytes of every client (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose reads fail when the preface is not complete within a limit.
#[derive(Debug)]
pub struct PrefaceTimer<S> {
    stream: S,
    /// Bytes of the preface that have not come.
    missing: usize,
    /// Ends with the time for the preface. `None`: the preface is complete.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> PrefaceTimer<S> {
    pub fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            missing: PREFACE.len(),
            limit: Some(Box::pin(sleep(limit))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefaceTimer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(limit) = &mut self.limit else {
            return read;
        };
        if read.is_pending() {
            ready!(limit.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the preface of HTTP/2 took too long",
            )));
        }
        let got = buffer.filled().len() - before;
        self.missing = self.missing.saturating_sub(got);
        if self.missing == 0 {
            self.limit = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PrefaceTimer<S> {
    write_to_stream!();
}

impl<S: Connected> Connected for PrefaceTimer<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}
