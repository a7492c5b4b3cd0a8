use platform::fleet::FleetError;
use tokio_util::task::TaskTracker;

use crate::lease::Leadership;

/// Whether an order that takes several calls to EC2 may go on to the next. Each call is short, but all of them together
/// could outlast the lease, and another scaler would lead meanwhile.
#[derive(Debug, Clone)]
pub(super) struct License {
    /// Absent: it always leads.
    leadership: Option<Leadership>,
    /// Closed once the scaler shuts down.
    calls: TaskTracker,
}

impl License {
    pub fn new(leadership: Option<Leadership>, calls: TaskTracker) -> Self {
        Self { leadership, calls }
    }

    pub fn holds(&self) -> bool {
        let leads = self.leadership.as_ref().is_none_or(Leadership::leads);
        leads && !self.calls.is_closed()
    }
}

/// In place of EC2's answer to a call that is not made any more.
pub(super) fn expired() -> FleetError {
    FleetError::Refused {
        code: "NotAsked".to_owned(),
        message: "this scaler does not act any more".to_owned(),
    }
}
