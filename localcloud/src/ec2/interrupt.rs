//! Spot interruptions, on request or at random.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::info;

use super::command::TaskCommand;
use super::error::Ec2Result;
use super::state::{Interruption, InterruptionAction, ProcessChange};
use super::{Ec2, Ec2Error};
use crate::faults::DEFAULT_SPOT_NOTICE;
use crate::timestamp::timestamp_in_seconds;

/// An interruption to announce, as the admin endpoint receives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterruptionRequest {
    pub instance_id: String,
    /// The default is the behavior that the instance was launched with.
    #[serde(default)]
    pub action: Option<InterruptionAction>,
    /// The time from the notice to the interruption.
    #[serde(default = "default_notice_ms")]
    pub notice_ms: u64,
}

/// An interruption that was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedInterruption {
    pub instance_id: String,
    pub action: InterruptionAction,
    /// The time of the interruption, as in the notice.
    pub time: String,
}

const MAX_NOTICE_MS: u64 = 24 * 60 * 60 * 1000;

fn default_notice_ms() -> u64 {
    DEFAULT_SPOT_NOTICE.as_millis() as u64
}

impl Ec2 {
    /// Announces the interruption of a spot instance, and carries it out after the notice if the instance still runs.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`; `UnsupportedOperation` for an instance that cannot be interrupted with this action;
    /// `IncorrectInstanceState` unless it is pending or running; `InvalidParameterValue` for a notice of over a day.
    pub fn interrupt(
        self: &Arc<Self>,
        request: &InterruptionRequest,
    ) -> Ec2Result<AnnouncedInterruption> {
        if request.notice_ms > MAX_NOTICE_MS {
            return Err(Ec2Error::InvalidParameterValue(format!(
                "notice_ms is at most {MAX_NOTICE_MS}, a day"
            )));
        }
        let id = &request.instance_id;
        let noticed = self.clock.now();
        let mut shared = self.lock();
        let instance = shared.instances.visible_mut(id, noticed)?;
        let interruption = Interruption {
            action: request.action.unwrap_or(instance.spec.interruption),
            noticed,
            at: noticed + request.notice_ms,
        };
        instance.announce_interruption(interruption)?;
        let boot = instance.boot;
        drop(shared);
        let action = interruption.action;
        info!(
            instance = id,
            action = action.name(),
            notice_ms = request.notice_ms,
            "spot interruption announced"
        );
        let when = self.clock.instant_of(interruption.at);
        let ec2 = Arc::downgrade(self);
        let instance_id = id.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(when.into()).await;
            // The clock counts whole milliseconds, and may still show the previous one.
            while let Some(ec2) = ec2.upgrade() {
                if ec2.clock.now() >= interruption.at {
                    return ec2.carry_out_interruption(&instance_id, boot);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Ok(AnnouncedInterruption {
            instance_id: id.clone(),
            action,
            time: timestamp_in_seconds(interruption.at),
        })
    }

    fn carry_out_interruption(&self, instance_id: &str, boot: u64) {
        let mut shared = self.lock();
        let now = self.clock.now();
        let Some(instance) = shared.instances.get_mut(instance_id) else {
            return;
        };
        let is_interrupted = instance.interrupt(boot, now) != ProcessChange::Nothing;
        if let Some(commands) = shared.commands.get(instance_id).filter(|_| is_interrupted) {
            info!(instance = instance_id, "spot instance interrupted");
            TaskCommand::Stop.send(commands);
        }
    }
}

/// Waits for the first of two durations, then announces an interruption with the second as its notice, if the boot still
/// runs.
pub async fn interrupt_later(
    ec2: Weak<Ec2>,
    instance_id: String,
    boot: u64,
    (after, notice): (Duration, Duration),
) {
    tokio::time::sleep(after).await;
    let Some(ec2) = ec2.upgrade() else { return };
    let still_runs = ec2
        .lock()
        .instances
        .get(&instance_id)
        .is_some_and(|instance| instance.boot == boot && instance.uses_capacity());
    if still_runs {
        // An error means that the instance has been stopped since.
        let _ = ec2.interrupt(&InterruptionRequest {
            instance_id,
            action: None,
            notice_ms: u64::try_from(notice.as_millis()).unwrap_or(u64::MAX),
        });
    }
}
