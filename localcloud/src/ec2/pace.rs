//! Spaces out the starts of processes: many that boot at once on few cores are all ready late, and none is ready early.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Hands out turns, each at least an interval after the one before.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: Mutex::new(Instant::now()),
        }
    }

    /// Completes when the caller's turn has come. A turn is taken when this is first polled, and is not given back.
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
        let pace = Pace::new(interval);
        pace.turn().await;
        let first = Instant::now();
        pace.turn().await;
        pace.turn().await;
        assert!(first.elapsed() >= interval + interval / 2);
    }
}
