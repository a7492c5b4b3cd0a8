//! Decisions on their way to watchers.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::broadcast;

use super::{Decision, DecisionBuffer};

/// Sends decisions to its subscribers. Those that a slow one has not received are kept within the limits of the decision log.
/// It misses the ones before. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Feed {
    /// A decision that was forgotten cannot be upgraded any more.
    sender: broadcast::Sender<Weak<Decision>>,
    unread: Arc<Mutex<DecisionBuffer>>,
}

impl Feed {
    /// Creates a feed whose slowest subscriber may be `most` decisions behind.
    pub(super) fn new(most: usize) -> Self {
        Self {
            sender: broadcast::Sender::new(most),
            unread: Arc::default(),
        }
    }

    /// Returns the decisions from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Weak<Decision>> {
        self.sender.subscribe()
    }

    pub(super) fn send(&self, decision: &Arc<Decision>) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        // Sending fails when nothing is subscribed.
        if self.sender.send(Arc::downgrade(decision)).is_err() {
            *unread = DecisionBuffer::default();
            return;
        }
        // One more, which a subscriber may be about to upgrade.
        unread.push(Arc::clone(decision), self.sender.len() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision_log::KEPT_INSTANCES;
    use crate::plan::fixtures::Fleet;

    fn send(feed: &Feed, sequence: u64, instances: usize) {
        feed.send(&Arc::new(Decision {
            sequence,
            observation: Fleet::of(instances).observation,
            ..Decision::default()
        }));
    }

    fn kept(feed: &Feed) -> Vec<u64> {
        let unread = feed.unread.lock().unwrap();
        unread.decisions.iter().map(|it| it.sequence).collect()
    }

    /// It once held 1,024 decisions, which takes gigabytes with 10,000 instances.
    #[test]
    fn a_stalled_watcher_holds_a_bounded_number_of_instances() {
        let feed = Feed::new(1_024);
        let mut stalled = feed.subscribe();
        for sequence in 1..=6 {
            send(&feed, sequence, KEPT_INSTANCES / 4);
        }
        assert_eq!(kept(&feed), [3, 4, 5, 6]);
        let received = std::iter::from_fn(|| stalled.try_recv().ok());
        let received: Vec<_> = received
            .map(|it| it.upgrade().map(|it| it.sequence))
            .collect();
        assert_eq!(received, [None, None, Some(3), Some(4), Some(5), Some(6)]);
    }

    #[test]
    fn decisions_that_all_watchers_received_are_not_kept() {
        let feed = Feed::new(1_024);
        send(&feed, 1, 1);
        assert_eq!(kept(&feed), [0; 0]);
        let (mut fast, slow) = (feed.subscribe(), feed.subscribe());
        for sequence in 2..=4 {
            send(&feed, sequence, 1);
            fast.try_recv().unwrap();
        }
        assert_eq!(kept(&feed), [2, 3, 4]);
        drop(slow);
        send(&feed, 5, 1);
        assert_eq!(kept(&feed), [4, 5]);
        drop(fast);
        send(&feed, 6, 1);
        assert_eq!(kept(&feed), [0; 0]);
    }
}
