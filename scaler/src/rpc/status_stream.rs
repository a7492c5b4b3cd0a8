//! Streams decisions as they are made.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{Stream, StreamExt};
use proto::v1::ScalerStatus;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tonic::Status;

use super::wire;
use crate::decision_log::{Decision, DecisionLog};

/// The shortest interval of a display. Each status takes the scaler some ten microseconds.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// Returns the interval that a watcher asks for, if it asks for one.
///
/// # Errors
/// INVALID_ARGUMENT when it is too short, or when the watcher also asks for every decision.
pub fn display_interval(
    every: bool,
    interval: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Status> {
    let Some(interval) = interval else {
        return Ok(None);
    };
    if every {
        return Err(Status::invalid_argument(
            "give every or interval: a display does not receive every decision",
        ));
    }
    // A negative duration is none of the standard library's.
    match Duration::try_from(interval) {
        Ok(interval) if interval >= SHORTEST_INTERVAL => Ok(Some(interval)),
        _ => Err(Status::invalid_argument(format!(
            "the interval is less than {} ms",
            SHORTEST_INTERVAL.as_millis()
        ))),
    }
}

/// Returns the newest decision at once, then the newest one whenever `interval` has passed and there is a newer one. Only
/// decisions that are returned are encoded, and a slow watcher skips the others.
pub fn newest(
    log: &DecisionLog,
    interval: Duration,
) -> impl Stream<Item = ScalerStatus> + Send + use<> {
    let mut latest = log.latest.subscribe();
    latest.mark_changed();
    futures::stream::unfold((latest, None), move |(mut latest, due)| async move {
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
        }
        latest.changed().await.ok()?;
        let decision = Arc::clone(&latest.borrow_and_update());
        let due = Instant::now().checked_add(interval)?;
        Some((wire::encode(&decision), (latest, Some(due))))
    })
}

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
        .map(move |(decision, after_a_gap)| match every {
            true => wire::record(&decision, after_a_gap),
            false => wire::encode(&decision),
        })
}

/// Returns decisions, and whether earlier ones were skipped: a watcher that is too slow misses some, and never blocks the
/// reconciler.
fn following(
    decisions: broadcast::Receiver<Weak<Decision>>,
) -> impl Stream<Item = (Arc<Decision>, bool)> + Send {
    futures::stream::unfold(decisions, async |mut decisions| {
        let mut after_a_gap = false;
        loop {
            match decisions.recv().await {
                Ok(decision) => match decision.upgrade() {
                    Some(decision) => return Some(((decision, after_a_gap), decisions)),
                    None => after_a_gap = true,
                },
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

    fn publish(log: &DecisionLog, sequences: std::ops::RangeInclusive<u64>) {
        for sequence in sequences {
            log.publish(Decision {
                sequence,
                before: Some(Arc::default()),
                ..Decision::default()
            });
        }
    }

    /// Returns the sequence of each status that is ready, and whether it carries the memory.
    fn ready(statuses: &mut (impl Stream<Item = ScalerStatus> + Unpin)) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| statuses.next().now_or_never().flatten())
            .map(|it| (it.sequence, it.memory.contains(r#""memory":{"#)))
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

    #[tokio::test]
    async fn a_display_receives_the_newest_decision_once_in_its_interval() {
        let log = DecisionLog::new(ActivePolicy::default());
        publish(&log, 1..=3);
        let mut slow = Box::pin(newest(&log, Duration::from_secs(3600)));
        let mut fast = Box::pin(newest(&log, Duration::from_millis(1)));
        assert_eq!(ready(&mut slow), [(3, false)]);
        assert_eq!(fast.next().await.map(|it| it.sequence), Some(3));
        // None of these changes something.
        publish(&log, 4..=9);
        assert_eq!(ready(&mut slow), []);
        assert_eq!(fast.next().await.map(|it| it.sequence), Some(9));
        // The interval has passed, but there is no newer decision.
        let early = tokio::time::timeout(Duration::from_millis(20), fast.next()).await;
        assert!(early.is_err(), "{early:?}");
        publish(&log, 10..=10);
        assert_eq!(fast.next().await.map(|it| it.sequence), Some(10));
    }

    #[test]
    fn an_interval_is_at_least_50_ms_and_excludes_every() {
        let milliseconds = |count: i32| {
            Some(prost_types::Duration {
                seconds: 0,
                nanos: count * 1_000_000,
            })
        };
        for (every, interval, expected) in [
            (false, None, Ok(None)),
            (true, None, Ok(None)),
            (false, milliseconds(50), Ok(Some(Duration::from_millis(50)))),
            (false, milliseconds(49), Err("less than 50 ms")),
            (false, milliseconds(0), Err("less than 50 ms")),
            (false, milliseconds(-500), Err("less than 50 ms")),
            (true, milliseconds(100), Err("every or interval")),
        ] {
            match (display_interval(every, interval), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(status), Err(reason)) => {
                    assert_eq!(status.code(), tonic::Code::InvalidArgument);
                    assert!(status.message().contains(reason), "{status}");
                }
                (found, expected) => panic!("{found:?} for {interval:?}, expected {expected:?}"),
            }
        }
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
