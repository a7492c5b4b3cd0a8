//! When to poll EC2 and the queue next. How often is [`crate::plan::pace`].

use std::time::Duration;

use crate::plan::Timestamp;
use crate::plan::pace::FAST;
pub use crate::plan::pace::{count_interval, describe_interval};

const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// How often to ask one of the two.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    asked_at: Option<Timestamp>,
    under_way: bool,
    failures: u32,
}

impl Pace {
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            asked_at: None,
            under_way: false,
            failures: 0,
        }
    }

    /// Sets how often to ask from now on.
    pub fn set(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// When to ask next; absent while a question is under way.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        if self.under_way {
            return None;
        }
        let asked_at = self.asked_at.unwrap_or_default();
        let backoff = (FAST * 2_u32.saturating_pow(self.failures)).min(LONGEST_BACKOFF);
        let interval = if self.failures > 0 {
            self.interval.max(backoff)
        } else {
            self.interval
        };
        Some(if self.asked_at.is_none() {
            asked_at
        } else {
            asked_at.after(interval)
        })
    }

    pub fn asked(&mut self, now: Timestamp) {
        (self.asked_at, self.under_way) = (Some(now), true);
    }

    pub fn answered(&mut self) {
        (self.under_way, self.failures) = (false, 0);
    }

    pub fn failed(&mut self) {
        (self.under_way, self.failures) = (false, self.failures.saturating_add(1).min(16));
    }
}
