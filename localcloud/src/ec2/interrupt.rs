//! Spot interruptions: asked for by a test, or by chance.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::info;

use super::state::{Effect, Interruption, InterruptionAction};
use super::supervise::Order;
use super::time::timestamp_in_seconds;
use super::{Ec2, Ec2Error, change};

/// How long before an interruption AWS announces it.
pub const USUAL_NOTICE: Duration = Duration::from_secs(120);

/// An interruption to announce, as the admin endpoint has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterruptionRequest {
    pub instance_id: String,
    /// What the instance was launched with, if none is given.
    #[serde(default)]
    pub action: Option<InterruptionAction>,
    /// From the notice to the interruption.
    #[serde(default = "usual_notice_ms")]
    pub notice_ms: u64,
}

/// An interruption that was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptionAnswer {
    pub instance_id: String,
    pub action: InterruptionAction,
    /// When it is carried out, as the instance is told.
    pub time: String,
}

/// A notice of more than a day is a mistake.
const LONGEST_NOTICE_MS: u64 = 24 * 60 * 60 * 1000;

fn usual_notice_ms() -> u64 {
    USUAL_NOTICE.as_millis() as u64
}

impl Ec2 {
    /// Announces that EC2 takes a spot instance back, and does so when the notice is over, unless it has ended before.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`; `UnsupportedOperation` unless it is a spot instance that can be interrupted so;
    /// `IncorrectInstanceState` unless it is pending or running; `InvalidParameterValue` for a notice of more than a
    /// day.
    pub fn interrupt(
        self: &Arc<Self>,
        request: &InterruptionRequest,
    ) -> Result<InterruptionAnswer, Ec2Error> {
        if request.notice_ms > LONGEST_NOTICE_MS {
            return Err(Ec2Error::InvalidParameterValue(format!(
                "notice_ms is at most {LONGEST_NOTICE_MS}, a day"
            )));
        }
        let id = &request.instance_id;
        let noticed = self.clock.now();
        let mut shared = self.lock();
        let instance = shared
            .instances
            .get_mut(id)
            .filter(|instance| instance.is_known(noticed))
            .ok_or_else(|| Ec2Error::InstanceNotFound(vec![id.clone()]))?;
        let interruption = Interruption {
            action: request.action.unwrap_or(instance.spec.interruption),
            noticed,
            at: noticed + request.notice_ms,
        };
        instance.announce_interruption(interruption)?;
        let boot = instance.boot;
        drop(shared);
        info!(
            instance = id,
            action = interruption.action.name(),
            notice_ms = request.notice_ms,
            "spot interruption announced"
        );
        let when = self.clock.instant_of(interruption.at);
        let ec2 = Arc::downgrade(self);
        let id = id.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(when.into()).await;
            // The clock counts whole milliseconds, and may show the one before.
            while let Some(ec2) = ec2.upgrade() {
                if ec2.clock.now() >= interruption.at {
                    return ec2.carry_out(&id, boot);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Ok(InterruptionAnswer {
            instance_id: request.instance_id.clone(),
            action: interruption.action,
            time: timestamp_in_seconds(interruption.at),
        })
    }

    fn carry_out(&self, instance_id: &str, boot: u64) {
        let mut shared = self.lock();
        let now = self.clock.now();
        let Some(instance) = shared.instances.get_mut(instance_id) else {
            return;
        };
        let interrupted = instance.interrupt(boot, now) != Effect::Nothing;
        if let Some(orders) = shared.orders.get(instance_id).filter(|_| interrupted) {
            info!(instance = instance_id, "spot instance interrupted");
            change::give(orders, Order::End);
        }
    }
}

/// Lets chance decide whether a spot instance that is being started will be interrupted, and waits for it.
pub async fn interrupt_by_chance(
    ec2: Weak<Ec2>,
    instance_id: String,
    boot: u64,
    (after, notice): (Duration, Duration),
) {
    tokio::time::sleep(after).await;
    let Some(ec2) = ec2.upgrade() else { return };
    let is_same_run = ec2
        .lock()
        .instances
        .get(&instance_id)
        .is_some_and(|instance| instance.boot == boot && instance.takes_room());
    if is_same_run {
        // Whatever refuses it now, such as an end in between, has made it pointless.
        let _ = ec2.interrupt(&InterruptionRequest {
            instance_id,
            action: None,
            notice_ms: u64::try_from(notice.as_millis()).unwrap_or(u64::MAX),
        });
    }
}
