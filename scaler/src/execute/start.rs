use platform::fleet::FleetError;

use super::call::{Call, ExecutionEvent};
use super::capacity_pools::is_lack_of_capacity;
use super::throttle::Action;
use super::{Executor, texts};
use crate::fleet::FleetView;
use crate::plan::{InstanceId, Timestamp};

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
