use platform::fleet::FleetError;

use super::capacity_pools::is_lack_of_capacity;
use super::outcome::{Call, ExecutionEvent};
use super::throttle::Action;
use super::{Executor, texts};
use crate::fleet::FleetView;
use crate::plan::{InstanceId, Timestamp};

/// How many instances to start in one call. EC2 starts all of them or none, and does not say which one it refuses. So
/// each refusal halves the size of the next call, down to one.
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

    /// Halves the size after EC2 refused a call for `count` instances. Returns whether the call was for a single
    /// instance, which therefore is the one that fails.
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
    /// Starts as many as the throttle allows now. The next plan asks for the rest again.
    pub(super) fn start_instances(
        &mut self,
        ids: &[InstanceId],
        view: &mut FleetView,
        now: Timestamp,
    ) {
        let wanted = self
            .start_size
            .within(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        let count = self.throttle.take(Action::Start, wanted, now);
        let ids = ids[..count as usize].to_vec();
        if ids.is_empty() {
            return;
        }
        view.starting(&ids, now);
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
        view: &mut FleetView,
        now: Timestamp,
    ) -> Vec<ExecutionEvent> {
        let Some(error) = error else {
            self.start.note(None, now);
            self.start_size.succeeded();
            return vec![ExecutionEvent::Started {
                instances: ids.len() as u64,
                ordered_at: asked_at,
            }];
        };
        view.not_starting(ids);
        // Neither says anything about the instances.
        if error.is_throttled() || error.may_have_happened() {
            self.start.note(Some(error), now);
            return Vec::new();
        }
        let code = error.code().unwrap_or_default();
        let lacks_capacity = is_lack_of_capacity(code);
        if !lacks_capacity {
            // Even a permanent refusal need not hold for a smaller call.
            self.start.hold(code, now);
        }
        if self.start_size.refused(ids.len()) {
            if lacks_capacity {
                view.lacks_capacity(ids, code, now);
            } else {
                view.cannot_start(ids, code, now);
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the calls until all startable instances are started. `false` stands for an instance that EC2 refuses.
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
    fn an_instance_that_cannot_be_started_does_not_block_the_others() {
        assert_eq!(calls(vec![true; 8]), 1);
        let first = [&[false][..], &[true; 7]].concat();
        assert_eq!(calls(first), 5);
        let last = [&[true; 7][..], &[false]].concat();
        assert!(calls(last) <= 8);
    }
}
