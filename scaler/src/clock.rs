use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::plan::Timestamp;

/// Converts between the process's clock and the plan's [`Timestamp`]s. Copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    /// The time of day at `origin`, since the Unix epoch.
    wall_origin: Duration,
    /// Shown instead, in microseconds since the Unix epoch.
    simulated: Option<&'static AtomicU64>,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            wall_origin: Timestamp::from(SystemTime::now()).elapsed(),
            simulated: None,
        }
    }

    /// Returns a clock that shows `micros`, in microseconds since the Unix epoch.
    #[doc(hidden)]
    #[must_use]
    pub fn simulated(micros: &'static AtomicU64) -> Self {
        Self {
            simulated: Some(micros),
            ..Self::start()
        }
    }

    /// Returns the present by the machine's wall clock, which may be set, and which goes on while the machine is suspended.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        if self.simulated.is_some() {
            return self.now();
        }
        SystemTime::now().into()
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = self.simulated.map_or_else(
            || self.wall_origin + self.origin.elapsed(),
            |micros| Duration::from_micros(micros.load(Ordering::Relaxed)),
        );
        Timestamp::after_epoch(elapsed)
    }

    /// Returns the instant to sleep until for a task that wakes at a time.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.origin + at.elapsed().saturating_sub(self.wall_origin)
    }
}
