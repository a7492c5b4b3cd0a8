use std::time::SystemTime;

use tokio::time::Instant;

use crate::plan::Moment;

/// Turns the process's clocks into the plan's [`Moment`]s and back. Copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    wall_origin: SystemTime,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            wall_origin: SystemTime::now(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::after_start(self.origin.elapsed())
    }

    /// When to wake a task at `moment`.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.origin + moment.elapsed()
    }

    /// The time of day at `moment`.
    #[must_use]
    pub fn time_of_day(&self, moment: Moment) -> SystemTime {
        self.wall_origin + moment.elapsed()
    }
}
