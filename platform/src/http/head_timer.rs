//! A limit on the time that the head of a request takes, apart from the time that a connection waits for its next request.
//! hyper has one timer for both.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connections::write_to_stream;

/// Counts the requests of a connection. Its stream and its service share it.
#[derive(Debug, Default)]
pub struct Requests {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Requests {
    /// Records that the head of a request is complete.
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the request has its response.
    pub fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream whose reads fail when the head of a request takes longer than `limit`: from its first byte on, or from the start of
/// the connection.
#[derive(Debug)]
pub struct HeadTimer<S> {
    stream: S,
    limit: Duration,
    requests: Arc<Requests>,
    /// How many requests had begun at the last read.
    begun: usize,
    /// When the head must be complete. `None` between requests, and while one is handled.
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<S> HeadTimer<S> {
    pub fn new(stream: S, limit: Duration, requests: Arc<Requests>) -> Self {
        Self {
            stream,
            limit,
            requests,
            begun: 0,
            deadline: Some(Instant::now() + limit),
            sleep: None,
        }
    }

    /// Forgets the deadline of a head that is complete. Returns whether the next byte belongs to a head.
    fn awaits_head(&mut self) -> bool {
        let begun = self.requests.begun.load(Ordering::Relaxed);
        if begun != self.begun {
            self.begun = begun;
            self.deadline = None;
            self.sleep = None;
        }
        begun == self.requests.ended.load(Ordering::Relaxed)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadTimer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let awaits_head = self.awaits_head();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if !awaits_head {
            return read;
        }
        if read.is_ready() {
            let limit = self.limit;
            self.deadline.get_or_insert_with(|| Instant::now() + limit);
            return read;
        }
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the head of a request took too long",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadTimer<S> {
    write_to_stream!();
}
