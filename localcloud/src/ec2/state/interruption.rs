//! Interruptions of spot instances.

use super::instance::{Instance, InstanceState, Interruption, ProcessChange};
use super::spec::{InterruptionAction, Market};
use crate::clock::Millis;
use crate::ec2::Ec2Error;
use crate::ec2::error::Ec2Result;

impl Instance {
    /// Announces an interruption. A later announcement replaces an earlier one.
    ///
    /// # Errors
    /// `UnsupportedOperation` unless it is a spot instance that can be interrupted with this action;
    /// `IncorrectInstanceState` unless it is pending or running.
    pub fn announce_interruption(&mut self, interruption: Interruption) -> Ec2Result {
        let unsupported = |why: &str| {
            Err(Ec2Error::NotInterruptible {
                id: self.instance_id.clone(),
                why: why.to_owned(),
            })
        };
        match (self.spec.market, interruption.action) {
            (Market::OnDemand, _) => return unsupported("it is not a Spot Instance"),
            (Market::OneTimeSpot, InterruptionAction::Stop | InterruptionAction::Hibernate) => {
                return unsupported(
                    "its Spot Instance request is a one-time request, so it can only be terminated",
                );
            }
            _ => {}
        }
        if !self.uses_capacity() {
            return Err(self.incorrect_state("interrupted"));
        }
        self.interruption = Some(interruption);
        Ok(())
    }

    /// Carries out the announced interruption of a boot if it is due.
    pub fn interrupt(&mut self, boot: u64, now: Millis) -> ProcessChange {
        let due = self
            .interruption
            .filter(|interruption| interruption.at <= now);
        let Some(interruption) = due.filter(|_| self.boot == boot && self.uses_capacity()) else {
            return ProcessChange::Nothing;
        };
        let (state, code, message) = match interruption.action {
            InterruptionAction::Terminate => (
                InstanceState::ShuttingDown,
                "Server.SpotInstanceTermination",
                "Spot instance termination",
            ),
            InterruptionAction::Stop | InterruptionAction::Hibernate => (
                InstanceState::Stopping,
                "Server.SpotInstanceShutdown",
                "Spot instance shutdown",
            ),
        };
        self.state = state;
        self.set_reason(code, message, code, now);
        ProcessChange::Stop { force: false }
    }
}
