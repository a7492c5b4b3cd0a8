//! Spaces out the starts of processes: on few cores, instances that boot at once are all ready late.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Hands out turns at least an interval apart.
#[derive(Debug)]
pub struct Pacer {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pacer {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: Mutex::new(Instant::now()),
        }
    }

    /// Completes when the caller's turn has come. The first poll takes the turn, and dropping the future keeps it taken.
    pub async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + self.interval;
            turn
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_are_an_interval_apart() {
        let interval = Duration::from_millis(10);
        let pacer = Pacer::new(interval);
        let begun = Instant::now();
        for _ in 0..3 {
            pacer.turn().await;
        }
        assert!(begun.elapsed() >= 2 * interval);
    }
}
