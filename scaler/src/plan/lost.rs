//! Workers that are given up.

use std::collections::HashSet;
use std::time::Duration;

use super::{Instance, InstanceId, Memory, Moment, Observation, Patience, State, StopCause};

/// Instances whose worker is given up, and why.
#[derive(Debug, Default)]
pub(super) struct Lost<'a> {
    pub instances: Vec<(&'a Instance, StopCause)>,
    ids: HashSet<&'a InstanceId>,
    /// When the next one would be given up.
    pub next_at: Option<Moment>,
}

impl<'a> Lost<'a> {
    /// A worker that reports is trusted, one that does not is given up: past a deadline, and only while the scaler was
    /// there to hear it. An old answer of EC2 is no ground for it.
    pub fn find(patience: &Patience, observation: &'a Observation, memory: &Memory) -> Self {
        let mut lost = Self::default();
        if !observation.fleet_is_fresh(patience) {
            return lost;
        }
        for instance in &observation.instances {
            // EC2 cannot stop what it does not describe as running.
            let Some(running_since) = instance.running_since else {
                continue;
            };
            if !matches!(
                instance.state,
                State::Booting | State::Idle | State::Busy | State::Draining | State::Cordoned
            ) {
                continue;
            }
            let (quiet_since, deadline, cause) = match instance.heard {
                Some(heard) => (heard, patience.silence_deadline, StopCause::Silent),
                None => (
                    running_since,
                    patience.boot_deadline,
                    StopCause::NeverAttended,
                ),
            };
            let given_up_at = quiet_since.max(memory.watching_since).after(deadline);
            if observation.now > given_up_at {
                lost.instances.push((instance, cause));
                lost.ids.insert(&instance.id);
            } else {
                let at = given_up_at.after(Duration::from_millis(1));
                lost.next_at = Some(lost.next_at.map_or(at, |next| next.min(at)));
            }
        }
        lost
    }

    pub fn contains(&self, instance: &Instance) -> bool {
        !self.ids.is_empty() && self.ids.contains(&instance.id)
    }

    /// What is left to count on; `None` when that is everything.
    pub fn without(&self, observation: &Observation) -> Option<Observation> {
        if self.ids.is_empty() {
            return None;
        }
        let mut rest = observation.clone();
        for instance in &mut rest.instances {
            instance.leaving |= self.contains(instance);
        }
        Some(rest)
    }
}
