//! Wall-clock time that never runs backwards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, the only notion of time in the `state` modules.
pub type Millis = u64;

/// A clock anchored to the wall clock once and then driven by the monotonic one,
/// so that a clock correction neither hides messages nor redelivers them early.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: Instant,
    anchor_since_epoch: Duration,
}

impl Clock {
    /// Anchors a clock at the current wall-clock time.
    pub fn start() -> Self {
        Self {
            anchor: Instant::now(),
            anchor_since_epoch: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now(&self) -> Millis {
        (self.anchor_since_epoch + self.anchor.elapsed()).as_millis() as Millis
    }

    /// The instant at which this clock will show `when`; the present one if that has passed.
    pub fn instant_of(&self, when: Millis) -> Instant {
        Instant::now() + Duration::from_millis(when.saturating_sub(self.now()))
    }
}
