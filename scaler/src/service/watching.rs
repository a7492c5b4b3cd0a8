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
        .map(move |(decision, after_a_gap)| match every {
            true => wire::record(&decision, after_a_gap),
            false => wire::encode(&decision),
        })
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::board::Settings;
    use crate::plan::{Memory, Observation, Plan, Policy};
    use crate::wire::tests::decision;

    fn publish(board: &Board, sequences: std::ops::RangeInclusive<u64>) {
        for sequence in sequences {
            let (policy, observation, plan) =
                (Policy::default(), Observation::default(), Plan::default());
            let memory = Memory::default();
            board.publish(decision(sequence, &policy, &observation, &plan, &memory));
        }
    }

    /// The sequence of each status that is ready, and whether it says what was remembered.
    fn ready(statuses: &mut (impl Stream<Item = ScalerStatus> + Unpin)) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| statuses.next().now_or_never().flatten())
            .map(|it| (it.sequence, it.memory.contains(r#""memory":{"#)))
            .collect()
    }

    #[test]
    fn a_watcher_that_was_too_slow_is_told_again_what_was_remembered() {
        let board = Board::new(Settings::default());
        publish(&board, 1..=3);
        let mut every = Box::pin(statuses(&board, true));
        publish(&board, 4..=5);
        assert_eq!(ready(&mut every), [(3, true), (4, false), (5, false)]);
        publish(&board, 6..=3_000);
        let late = ready(&mut every);
        assert!(late[0].0 > 6 && late[0].1, "{:?}", late[0]);
        assert!(late[1..].iter().all(|(_, memory)| !memory));
        assert_eq!(late.last(), Some(&(3_000, false)));
    }

    #[test]
    fn one_who_wants_only_what_changes_is_spared_the_rest() {
        let board = Board::new(Settings::default());
        publish(&board, 1..=3);
        let mut changes = Box::pin(statuses(&board, false));
        publish(&board, 4..=5);
        assert_eq!(ready(&mut changes), [(3, false)]);
    }
}
