use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::plan::Moment;

/// Converts between the process's clock and the plan's [`Moment`]s. Copies agree with each other.
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
            wall_origin: Moment::from(SystemTime::now()).elapsed(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::after_epoch(self.wall_origin + self.origin.elapsed())
    }

    /// Returns the instant to sleep until for a task that wakes at `moment`.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.origin + moment.elapsed().saturating_sub(self.wall_origin)
    }
}
