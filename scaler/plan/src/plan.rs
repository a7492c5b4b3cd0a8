use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{InstanceId, Observation, Timestamp};

/// A decision that leaves its executor no choices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub desired_workers: u32,
    /// Stopped instances to start, in one call.
    pub start: Vec<InstanceId>,
    /// How many instances to launch, in one call.
    pub launch: u32,
    pub cordon: Vec<InstanceId>,
    pub uncordon: Vec<InstanceId>,
    pub stop: Vec<Stop>,
    /// Instances to name by their number.
    pub rename: Vec<(InstanceId, u32)>,
    /// One sentence.
    pub reason: String,
    /// Other numbers of workers that were considered.
    pub rejected: Vec<Alternative>,
    /// When the pending requests are expected to be answered.
    pub completes_in: Option<Duration>,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Timestamp>,
}

/// A number of workers that was considered and rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    pub workers: u32,
    /// Why it was rejected, as the end of a sentence that begins with the number.
    pub reason: String,
}

/// An instance to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub id: InstanceId,
    pub cause: StopCause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopCause {
    /// Its worker confirmed that it is idle and takes no more work.
    Drained,
    /// Its worker has not reported for longer than the silence deadline.
    Silent,
    /// It has been running for longer than the boot deadline, and no worker ever reported.
    NeverAttended,
    /// EC2 has not brought it up within the boot deadline. It can only be terminated.
    NeverStarted,
    /// It is [`Drained`](Self::Drained), and its image or settings are old. It is terminated.
    Outdated,
    /// It is stopped already, and its image or settings are old. It is terminated.
    OutdatedStopped,
}

impl StopCause {
    /// Returns whether the instance is given up: nothing confirms that it is idle.
    #[must_use]
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Drained | Self::Outdated | Self::OutdatedStopped)
    }

    /// Returns whether the instance is terminated. Other causes leave it to be started again.
    #[must_use]
    pub fn terminates(self) -> bool {
        matches!(
            self,
            Self::NeverStarted | Self::Outdated | Self::OutdatedStopped
        )
    }

    /// Returns whether the instance failed to boot.
    #[must_use]
    pub fn is_failed_boot(self) -> bool {
        matches!(self, Self::NeverAttended | Self::NeverStarted)
    }
}

impl Plan {
    /// Leaves everything as it is.
    pub(crate) fn paused(by: &str, observation: &Observation) -> Self {
        let there = observation.working();
        Self {
            desired_workers: there,
            reason: format!("paused by {by}, so {there} stay: nothing to do"),
            ..Self::default()
        }
    }

    /// Returns whether executing the plan adds workers.
    #[must_use]
    pub fn adds(&self) -> bool {
        self.launch > 0 || !(self.start.is_empty() && self.uncordon.is_empty())
    }

    /// Returns whether executing the plan does anything.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        self.launch > 0
            || !(self.start.is_empty()
                && self.cordon.is_empty()
                && self.uncordon.is_empty()
                && self.stop.is_empty()
                && self.rename.is_empty())
    }
}
