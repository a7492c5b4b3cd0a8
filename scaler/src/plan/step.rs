//! The simplest policy: one worker for each unanswered request, up to the maximum.

use super::demand::{Assessment, Zero};
use super::{Observation, ScaleIn, Target};

pub(super) fn target(observation: &Observation, assessment: &Assessment) -> Target {
    let working = observation.working();
    let (desired, scale_in, wake_at) = match *assessment {
        Assessment::Exact(unanswered) => (unanswered, ScaleIn::Idle, None),
        Assessment::Zero(Zero::Settled) => (0, ScaleIn::AtOnce, None),
        Assessment::Zero(Zero::SettlesAt(moment)) => (0, ScaleIn::Hold, Some(moment)),
        Assessment::Zero(Zero::Unconfirmed) => (0, ScaleIn::Hold, None),
        Assessment::Zero(Zero::QueueUnreachable) => (0, ScaleIn::Idle, None),
        // Whoever is up finishes what is left; a worker is started for it only if nobody is up for long.
        Assessment::Zero(Zero::Leftover {
            messages,
            neglected,
        }) => (
            messages.min(working.into()).max(neglected.into()),
            ScaleIn::Idle,
            None,
        ),
        Assessment::Estimated {
            messages: 0,
            empty_for_long: true,
        } => (0, ScaleIn::AtOnce, None),
        Assessment::Estimated { messages: 0, .. } => (0, ScaleIn::Hold, None),
        Assessment::Estimated { messages, .. } => (messages, ScaleIn::Idle, None),
        Assessment::Unknown => (working.into(), ScaleIn::Hold, None),
    };
    Target {
        desired,
        needed: desired,
        scale_in,
        wake_at,
        rejected: Vec::new(),
        completes_in: None,
    }
}

impl Observation {
    /// How many instances work, or are on their way to.
    pub(super) fn working(&self) -> u32 {
        let working = self
            .instances
            .iter()
            .filter(|instance| instance.is_capacity())
            .count();
        u32::try_from(working)
            .unwrap_or(u32::MAX)
            .saturating_add(self.launching)
    }
}
