//! Spot interruptions: asked for by a test, or by chance.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::info;

use super::state::{InstanceState, Interruption, InterruptionAction};
use super::supervise::Order;
use super::time::timestamp_in_seconds;
use super::{Ec2, Ec2Error, change};
use crate::clock::Millis;

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

fn usual_notice_ms() -> u64 {
    USUAL_NOTICE.as_millis() as u64
}

impl Ec2 {
    /// Announces that EC2 takes a spot instance back, and does so when the notice is over, unless it has ended before.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`; `UnsupportedOperation` unless it is a spot instance that can be interrupted so;
    /// `IncorrectInstanceState` unless it is pending or running.
    pub fn interrupt(
        self: &Arc<Self>,
        request: &InterruptionRequest,
    ) -> Result<InterruptionAnswer, Ec2Error> {
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
            at: noticed.saturating_add(request.notice_ms),
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
        tokio::spawn(Arc::clone(self).carry_out(id.clone(), boot, interruption.at));
        Ok(InterruptionAnswer {
            instance_id: id.clone(),
            action: interruption.action,
            time: timestamp_in_seconds(interruption.at),
        })
    }

    async fn carry_out(self: Arc<Self>, instance_id: String, boot: u64, at: Millis) {
        tokio::time::sleep_until(self.clock.instant_of(at).into()).await;
        // The clock counts whole milliseconds.
        while self.clock.now() < at {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut shared = self.lock();
        let now = self.clock.now();
        let Some(instance) = shared.instances.get_mut(&instance_id) else {
            return;
        };
        let effect = instance.interrupt(boot, now);
        if effect != super::state::Effect::Nothing
            && let Some(orders) = shared.orders.get(&instance_id)
        {
            info!(instance = instance_id, "spot instance interrupted");
            change::give(orders, Order::End);
        }
    }

    /// Lets chance decide whether a spot instance that is being started will be interrupted, and waits for it.
    pub(super) async fn interrupt_by_chance(self: Arc<Self>, instance_id: String, boot: u64) {
        let Some((after, notice)) = self.spot_fate(&instance_id) else {
            return;
        };
        tokio::time::sleep(after).await;
        let is_same = |state: InstanceState, present: u64| {
            present == boot && matches!(state, InstanceState::Pending | InstanceState::Running)
        };
        let lives = self
            .lock()
            .instances
            .get(&instance_id)
            .is_some_and(|instance| is_same(instance.state, instance.boot));
        if lives {
            // Whatever refuses it now, such as an end in between, has made it pointless.
            let _ = self.interrupt(&InterruptionRequest {
                instance_id,
                action: None,
                notice_ms: notice.as_millis() as u64,
            });
        }
    }
}
