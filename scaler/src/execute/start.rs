use platform::fleet::FleetError;

use super::limits::Action;
use super::outcome::Call;
use super::places::is_lack_of_capacity;
use super::{Executor, texts};
use crate::observe::World;
use crate::plan::{InstanceId, Timestamp};

/// How many instances to start in one call. EC2 starts all of them or none, and does not say which of them it refuses, so
/// after a refusal half as many are asked for, down to one.
#[derive(Debug, Default)]
pub(super) struct StartSize {
    most: Option<u32>,
}

impl StartSize {
    fn within(&self, wanted: u32) -> u32 {
        wanted.min(self.most.unwrap_or(u32::MAX))
    }

    fn succeeded(&mut self) {
        self.most = None;
    }

    /// A call for this many was refused; `true` when it was for a single one, which therefore is the one that fails.
    fn refused(&mut self, count: usize) -> bool {
        if count <= 1 {
            self.most = None;
            return true;
        }
        let half = u32::try_from(count / 2).unwrap_or(u32::MAX);
        self.most = Some(self.within(half));
        false
    }
}

impl Executor {
    /// Starts as many as may be started now. The plan asks for the others again.
    pub(super) fn start_instances(
        &mut self,
        ids: &[InstanceId],
        world: &mut World,
        now: Timestamp,
    ) {
        let wanted = self
            .start_size
            .within(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        let count = self.limits.take(Action::Start, wanted, now);
        let ids = ids[..count as usize].to_vec();
        if ids.is_empty() {
            return;
        }
        world.starting(&ids, now);
        let fleet = self.fleet.clone();
        self.spawn(now, async move {
            let error = fleet.start(&texts(&ids)).await.err();
            (Call::Start(ids), error)
        });
    }

    pub(super) fn finish_start(
        &mut self,
        ids: &[InstanceId],
        asked_at: Timestamp,
        error: Option<&FleetError>,
        world: &mut World,
        now: Timestamp,
    ) {
        let Some(error) = error else {
            self.start.note(None, now);
            self.start_size.succeeded();
            self.count_start(&mut |totals| &mut totals.started, ids.len(), asked_at);
            return;
        };
        world.not_starting(ids);
        // Neither says anything about the instances.
        if error.is_throttled() || error.may_have_happened() {
            return self.start.note(Some(error), now);
        }
        let lacks_capacity = error.code().is_some_and(is_lack_of_capacity);
        if !lacks_capacity {
            // However lasting the refusal is, it need not hold for a smaller call.
            self.start.hold(now);
        }
        // Smaller calls follow, and launches once it is known what cannot be started.
        if !self.start_size.refused(ids.len()) {
            return;
        }
        if lacks_capacity {
            world.cannot_start(ids, now);
        } else {
            world.cannot_start_itself(ids, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls it takes to find out what can be started, given which of the pool's instances EC2 refuses.
    fn calls(mut pool: Vec<bool>) -> usize {
        let (mut size, mut calls) = (StartSize::default(), 0);
        while !pool.is_empty() {
            calls += 1;
            let count = size.within(pool.len() as u32) as usize;
            if !pool[..count].contains(&false) {
                size.succeeded();
                pool.drain(..count);
            } else if size.refused(count) {
                pool.remove(0);
            }
        }
        calls
    }

    #[test]
    fn one_that_cannot_be_started_does_not_keep_the_others_down() {
        assert_eq!(calls(vec![true; 8]), 1);
        let first = [&[false][..], &[true; 7]].concat();
        assert_eq!(calls(first), 5);
        let last = [&[true; 7][..], &[false]].concat();
        assert!(calls(last) <= 8);
    }
}
