//! Room for instances: a launch gets what there is, a start everything or nothing.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::{Instance, InstanceState, Instances, LaunchSpec};
use crate::ec2::Ec2Error;
use crate::faults::Capacity;

impl Instances {
    /// How many more instances of this kind may be launched; `usize::MAX` if no capacity covers them.
    pub fn room_for(&self, spec: &LaunchSpec) -> usize {
        self.capacity
            .iter()
            .filter(|capacity| covers(capacity, spec))
            .map(|capacity| capacity.instances.saturating_sub(self.taken(capacity)))
            .min()
            .unwrap_or(usize::MAX)
    }

    /// Checks that the stopped ones among these instances fit in, all of them.
    ///
    /// # Errors
    /// `InsufficientInstanceCapacity`.
    pub(super) fn check_room_to_start(&self, ids: &[String]) -> Result<(), Ec2Error> {
        // A call may name an instance twice.
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
            added == 0 || self.taken(capacity) + added <= capacity.instances
        };
        if self.capacity.iter().all(fits) {
            Ok(())
        } else {
            Err(Ec2Error::InsufficientCapacityToStart)
        }
    }

    fn taken(&self, capacity: &Capacity) -> usize {
        self.by_sequence
            .values()
            .filter(|instance| instance.takes_room() && covers(capacity, &instance.spec))
            .count()
    }
}

fn covers(capacity: &Capacity, spec: &LaunchSpec) -> bool {
    let instance_type = capacity.instance_type.as_ref();
    let subnet = capacity.subnet.as_ref();
    instance_type.is_none_or(|wanted| *wanted == spec.instance_type)
        && subnet.is_none_or(|wanted| spec.subnet_id.as_ref() == Some(wanted))
}
