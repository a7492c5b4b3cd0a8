use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;

use crate::byte_budget::{ByteBudget, ByteReservation};
use crate::error::RequestError;

/// How much of a refused upload is read and thrown away, and for how long. A client that is still sending when its
/// connection is closed sees a reset instead of the answer.
const DRAINED_BYTES: usize = 64 * 1024 * 1024;
const DRAINED_FOR: Duration = Duration::from_secs(10);

/// A request's body up to a limit, counted against the budget from its first byte on; what is left of it is handed back
/// when the reader is dropped.
#[derive(Debug)]
pub struct BoundedBody {
    rest: Option<Rest>,
    left: usize,
    budget: ByteBudget,
    hand_back: Option<oneshot::Sender<Rest>>,
}

/// What remains of a body after its reader was dropped.
#[derive(Debug)]
pub struct Rest {
    body: BodyDataStream,
    /// The body ended or broke.
    at_end: bool,
    /// The reader met the limit.
    pub over_limit: bool,
    /// Why the budget had no room for what came next.
    pub refused: Option<RequestError>,
    /// What was read counts for as long as this lives.
    pub reservation: Option<ByteReservation>,
}

impl BoundedBody {
    /// The bounded body, and what will be left of it.
    pub fn split(body: Body, limit: usize, budget: &ByteBudget) -> (Body, oneshot::Receiver<Rest>) {
        let (hand_back, handed_back) = oneshot::channel();
        let rest = Rest {
            body: body.into_data_stream(),
            at_end: false,
            over_limit: false,
            refused: None,
            reservation: None,
        };
        let bounded = Self {
            rest: Some(rest),
            left: limit,
            budget: budget.clone(),
            hand_back: Some(hand_back),
        };
        (Body::from_stream(bounded), handed_back)
    }
}

impl Stream for BoundedBody {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (left, budget) = (self.left, self.budget.clone());
        let Some(rest) = self.rest.as_mut() else {
            return Poll::Ready(None);
        };
        if rest.at_end || rest.over_limit || rest.refused.is_some() {
            return Poll::Ready(None);
        }
        let polled = rest.body.poll_next_unpin(context);
        match &polled {
            Poll::Ready(Some(Ok(chunk))) if chunk.len() > left => {
                rest.over_limit = true;
                return Poll::Ready(Some(Err(axum::Error::new("the body is too large"))));
            }
            Poll::Ready(Some(Ok(chunk))) => {
                match budget.reserve(chunk.len()) {
                    Ok(more) => match &mut rest.reservation {
                        Some(reservation) => reservation.add(more),
                        none => *none = Some(more),
                    },
                    Err(error) => {
                        rest.refused = Some(error);
                        return Poll::Ready(Some(Err(axum::Error::new("no room"))));
                    }
                }
                self.left -= chunk.len();
            }
            Poll::Ready(Some(Err(_)) | None) => rest.at_end = true,
            Poll::Pending => {}
        }
        polled
    }
}

impl Drop for BoundedBody {
    fn drop(&mut self) {
        if let (Some(hand_back), Some(rest)) = (self.hand_back.take(), self.rest.take()) {
            // Nobody asks for it after a complete upload.
            let _ = hand_back.send(rest);
        }
    }
}

impl Rest {
    pub fn of(body: BodyDataStream) -> Self {
        Self {
            body,
            at_end: false,
            over_limit: true,
            refused: None,
            reservation: None,
        }
    }

    /// Reads on, within bounds, so that the client gets to read its answer.
    pub async fn drain(mut self) {
        self.reservation = None;
        let reading = async {
            let mut drained = 0;
            while !self.at_end && drained < DRAINED_BYTES {
                match self.body.next().await {
                    Some(Ok(chunk)) => drained += chunk.len(),
                    Some(Err(_)) | None => self.at_end = true,
                }
            }
        };
        if tokio::time::timeout(DRAINED_FOR, reading).await.is_err() {
            tracing::debug!("a refused upload was not read to its end");
        }
    }
}
