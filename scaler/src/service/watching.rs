//! Decisions as they are made.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use proto::v1::ScalerStatus;
use tokio::sync::broadcast;

use crate::board::{Board, Decision};
use crate::wire;

/// The newest decision at once, then those that a watcher wants to know, or with `every` all of them. With `every` the
/// first one says what was remembered before it: from there on a replay knows everything that the scaler knew.
pub fn statuses(board: &Board, every: bool) -> impl Stream<Item = ScalerStatus> + Send + use<> {
    let source = if every { &board.every } else { &board.changes };
    // Subscribing first makes sure that no decision falls between the two.
    let decisions = source.subscribe();
    let latest = Arc::clone(&board.latest.borrow());
    let first = latest.sequence;
    let following = following(decisions).filter(move |(decision, _)| {
        let is_new = decision.sequence > first;
        async move { is_new }
    });
    futures::stream::once(async move { (latest, true) })
        .chain(following)
        .map(move |(decision, after_a_gap)| wire::encode(&decision, every && after_a_gap))
}

/// Decisions, and whether others before them were left out: a watcher that is too slow misses some rather than holding
/// up the loop.
fn following(
    decisions: broadcast::Receiver<Arc<Decision>>,
) -> impl Stream<Item = (Arc<Decision>, bool)> + Send {
    futures::stream::unfold(decisions, async |mut decisions| {
        let mut after_a_gap = false;
        loop {
            match decisions.recv().await {
                Ok(decision) => return Some(((decision, after_a_gap), decisions)),
                Err(broadcast::error::RecvError::Lagged(_)) => after_a_gap = true,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}
