//! State transitions caused by an instance's process. Events of an earlier boot are ignored.

use super::instance::{Instance, InstanceState};
use super::spec::Market;
use crate::clock::Millis;

impl Instance {
    /// Records that the process of `boot` runs.
    pub fn process_started(&mut self, boot: u64, now: Millis) {
        if self.boot == boot && self.state == InstanceState::Pending {
            self.state = InstanceState::Running;
            self.running_since = Some(now);
        }
    }

    /// Records that the main process of `boot` ended by itself, while the rest of its group is being stopped.
    pub fn process_ended(&mut self, boot: u64, how: &str, now: Millis) {
        if self.boot != boot
            || !matches!(self.state, InstanceState::Pending | InstanceState::Running)
        {
            return;
        }
        let cannot_stop = self.spec.market == Market::OneTimeSpot;
        self.state = if self.spec.terminate_on_shutdown || cannot_stop {
            InstanceState::ShuttingDown
        } else {
            InstanceState::Stopping
        };
        let message = format!("Instance initiated shutdown: {how}");
        self.set_reason("Client.InstanceInitiatedShutdown", &message, &message, now);
    }

    /// Records that the process of `boot` could not be started.
    pub fn boot_failed(&mut self, boot: u64, why: &str, now: Millis) {
        if self.boot != boot || self.state == InstanceState::Terminated {
            return;
        }
        self.state = InstanceState::Terminated;
        self.set_reason(
            "Server.InternalError",
            &format!("Internal error on launch: {why}"),
            "Server.InternalError",
            now,
        );
    }

    /// Records that no process of `boot` runs any more.
    pub fn process_gone(&mut self, boot: u64) {
        if self.boot != boot {
            return;
        }
        match self.state {
            InstanceState::ShuttingDown => self.state = InstanceState::Terminated,
            InstanceState::Stopping => self.state = InstanceState::Stopped,
            _ => {}
        }
    }
}
