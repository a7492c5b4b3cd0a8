use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::plan::Timestamp;

/// Turns the process's clocks into the plan's [`Timestamp`]s and back. Copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    /// The time of day at `origin`, since the Unix epoch.
    wall_origin: Duration,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            wall_origin: Timestamp::from(SystemTime::now()).elapsed(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::after_epoch(self.wall_origin + self.origin.elapsed())
    }

    /// When to wake a task at `moment`.
    #[must_use]
    pub fn instant(&self, moment: Timestamp) -> Instant {
        self.origin + moment.elapsed().saturating_sub(self.wall_origin)
    }

    /// The time of day at `moment`.
    #[must_use]
    pub fn time_of_day(&self, moment: Timestamp) -> SystemTime {
        SystemTime::UNIX_EPOCH + moment.elapsed()
    }
}
