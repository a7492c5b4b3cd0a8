//! Streams decisions as they are made.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use proto::v1::ScalerStatus;
use tokio::sync::broadcast;

use crate::decision_log::{Decision, DecisionLog};
use crate::wire;

/// Returns the newest decision at once, then those that change something, or with `every` all. With `every`, the first
/// decision and each one after a gap carry the memory before them, so that a replay can plan from there on.
pub fn statuses(log: &DecisionLog, every: bool) -> impl Stream<Item = ScalerStatus> + Send + use<> {
    let source = if every { &log.every } else { &log.changes };
    // Subscribed before the newest decision is read, so that none is lost in between.
    let decisions = source.subscribe();
    let latest = Arc::clone(&log.latest.borrow());
    let first = latest.sequence;
    let following = following(decisions).filter(move |(decision, _)| {
        let is_new = decision.sequence > first;
        async move { is_new }
    });
    futures::stream::once(async move { (latest, true) })
        .chain(following)
        .map(move |(decision, after_a_gap)| wire::encode(&decision, every && after_a_gap))
}

/// Returns decisions, and whether earlier ones were skipped: a watcher that is too slow misses some, and never blocks the
/// reconciler.
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
    use crate::decision_log::ActivePolicy;
    use crate::plan::{Memory, Observation, Plan, Policy};
    use crate::wire::tests::decision;

    fn publish(log: &DecisionLog, sequences: std::ops::RangeInclusive<u64>) {
        for sequence in sequences {
            let (policy, observation, plan) =
                (Policy::default(), Observation::default(), Plan::default());
            let memory = Memory::default();
            log.publish(decision(sequence, &policy, &observation, &plan, &memory));
        }
    }

    /// Returns the sequence of each status that is ready, and whether it carries the memory.
    fn ready(statuses: &mut (impl Stream<Item = ScalerStatus> + Unpin)) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| statuses.next().now_or_never().flatten())
            .map(|it| (it.sequence, !it.memory.is_empty()))
            .collect()
    }

    #[test]
    fn a_watcher_that_was_too_slow_receives_the_memory_again() {
        let log = DecisionLog::new(ActivePolicy::default());
        publish(&log, 1..=3);
        let mut every = Box::pin(statuses(&log, true));
        publish(&log, 4..=5);
        assert_eq!(ready(&mut every), [(3, true), (4, false), (5, false)]);
        publish(&log, 6..=3_000);
        let late = ready(&mut every);
        assert!(late[0].0 > 6 && late[0].1, "{:?}", late[0]);
        assert!(late[1..].iter().all(|(_, memory)| !memory));
        assert_eq!(late.last(), Some(&(3_000, false)));
    }

    #[test]
    fn a_watcher_of_changes_receives_only_changes() {
        let log = DecisionLog::new(ActivePolicy::default());
        publish(&log, 1..=3);
        let mut changes = Box::pin(statuses(&log, false));
        publish(&log, 4..=5);
        assert_eq!(ready(&mut changes), [(3, false)]);
    }
}
