use platform::fleet::FleetError;
use tokio_util::task::TaskTracker;

use crate::lease::Leadership;

/// The code of a call that is no longer made. EC2 has no such code.
const EXPIRED: &str = "NotAsked";

/// Whether an order that takes several calls to EC2 may make its next call. Each call is short, but all of them together
/// could outlast the lease, and another scaler would lead meanwhile.
#[derive(Debug, Clone)]
pub(super) struct ActingPermit {
    /// `None`: it always leads.
    leadership: Option<Leadership>,
    /// Closed once the scaler shuts down.
    calls: TaskTracker,
}

impl ActingPermit {
    pub fn new(leadership: Option<Leadership>, calls: TaskTracker) -> Self {
        Self { leadership, calls }
    }

    pub fn is_valid(&self) -> bool {
        let leads = self.leadership.as_ref().is_none_or(Leadership::leads);
        leads && !self.calls.is_closed()
    }
}

/// The result of a call that is no longer made.
pub(super) fn expired() -> FleetError {
    FleetError::Refused {
        code: EXPIRED.to_owned(),
        message: "this scaler no longer leads".to_owned(),
    }
}

/// Returns whether the call was made.
pub(super) fn was_made(error: &FleetError) -> bool {
    error.code() != Some(EXPIRED)
}
