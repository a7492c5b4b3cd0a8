//! Wall-clock time that never runs backwards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, the only notion of time in the `state` modules.
pub type Millis = u64;

/// A clock that reads the wall clock once and then follows the monotonic one.
///
/// A correction of the wall clock neither hides messages nor redelivers them early.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: Instant,
    anchor_since_epoch: Duration,
}

impl Clock {
    /// Returns a clock that shows the wall-clock time of this call.
    pub fn start() -> Self {
        Self {
            anchor: Instant::now(),
            anchor_since_epoch: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// Returns the current time in milliseconds since the Unix epoch.
    pub fn now(&self) -> Millis {
        (self.anchor_since_epoch + self.anchor.elapsed()).as_millis() as Millis
    }

    /// Returns the instant at which this clock shows `when`, or the current one if that time has passed.
    pub fn instant_of(&self, when: Millis) -> Instant {
        Instant::now() + Duration::from_millis(when.saturating_sub(self.now()))
    }
}
