//! Capacity for instances. A launch gets the rest of it; a start gets all that it needs, or fails.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::{Instance, InstanceState, Instances, LaunchSpec};
use crate::ec2::Ec2Error;
use crate::ec2::error::Ec2Result;
use crate::faults::Capacity;

impl Instances {
    /// Returns how many more instances like this can be launched; `usize::MAX` if no capacity covers them.
    pub fn capacity_for(&self, spec: &LaunchSpec) -> usize {
        self.capacity
            .iter()
            .filter(|capacity| covers(capacity, spec))
            .map(|capacity| capacity.instances.saturating_sub(self.used(capacity)))
            .min()
            .unwrap_or(usize::MAX)
    }

    /// Checks that there is capacity for all stopped instances among these.
    ///
    /// # Errors
    /// `InsufficientInstanceCapacity`.
    pub(super) fn check_capacity_to_start(&self, ids: &[String]) -> Ec2Result {
        // The identifiers may repeat.
        let ids: BTreeSet<&String> = ids.iter().collect();
        let to_start: Vec<&Instance> = ids
            .into_iter()
            .filter_map(|id| self.get(id))
            .filter(|instance| instance.state == InstanceState::Stopped)
            .collect();
        let fits = |capacity: &Capacity| {
            let added = to_start
                .iter()
                .filter(|instance| covers(capacity, &instance.spec))
                .count();
            added == 0 || self.used(capacity) + added <= capacity.instances
        };
        if self.capacity.iter().all(fits) {
            Ok(())
        } else {
            Err(Ec2Error::InsufficientCapacityToStart)
        }
    }

    fn used(&self, capacity: &Capacity) -> usize {
        self.by_sequence
            .values()
            .filter(|instance| instance.uses_capacity() && covers(capacity, &instance.spec))
            .count()
    }
}

fn covers(capacity: &Capacity, spec: &LaunchSpec) -> bool {
    let instance_type = capacity.instance_type.as_ref();
    let subnet = capacity.subnet.as_ref();
    instance_type.is_none_or(|wanted| *wanted == spec.instance_type)
        && subnet.is_none_or(|wanted| spec.subnet_id.as_ref() == Some(wanted))
}
