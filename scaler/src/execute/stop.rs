use platform::fleet::{Fleet, FleetError};

use super::call::{Call, End, Outcome};
use super::permit::{self, ActingPermit};
use super::throttle::Action;
use super::{Executor, texts};
use crate::fleet::FleetView;
use crate::plan::{InstanceId, Stop, StopCause, Timestamp};

impl Executor {
    pub(super) fn stop_instances(&mut self, stops: &[Stop], view: &mut FleetView, now: Timestamp) {
        let is_terminated = |stop: &&Stop| match stop.cause {
            StopCause::NeverAttended if view.is_last_attempt(&stop.id) => true,
            cause => cause.terminates() || view.is_spot(&stop.id),
        };
        let (terminate, stop): (Vec<_>, Vec<_>) = stops.iter().partition(is_terminated);
        self.end_instances(End::Stop, stop, view, now);
        self.end_instances(End::Terminate, terminate, view, now);
    }

    /// Ends as many as the throttle allows now. The next plan asks for the rest again.
    fn end_instances(&mut self, end: End, stops: Vec<&Stop>, view: &mut FleetView, now: Timestamp) {
        let wanted = u32::try_from(stops.len()).unwrap_or(u32::MAX);
        if wanted == 0 {
            return;
        }
        let count = self.throttle.take(end.action(), wanted, now) as usize;
        let stops = view.order_stops(stops.into_iter().take(count).cloned().collect(), now);
        if stops.is_empty() {
            return;
        }
        let (fleet, outcomes) = (self.fleet.clone(), self.outcomes.clone());
        let permit = self.permit();
        self.track(async move {
            for outcome in end_with_splits(&fleet, &permit, end, stops, now).await {
                // The receiver is gone once the scaler shuts down.
                drop(outcomes.send(outcome).await);
            }
        });
    }

    pub(super) fn discard_instances(&mut self, view: &mut FleetView, now: Timestamp) {
        let ids = view.broken();
        let is_held = self.discard.until().is_some_and(|until| now < until);
        if ids.is_empty() || is_held {
            return;
        }
        let wanted = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let count = self.throttle.take(Action::Terminate, wanted, now) as usize;
        let ids: Vec<InstanceId> = ids.into_iter().take(count).collect();
        if ids.is_empty() {
            return;
        }
        tracing::warn!(instances = ?texts(&ids), "terminating instances that failed to boot too often");
        view.stopping(&ids, now);
        let fleet = self.fleet.clone();
        self.spawn(now, async move {
            let error = fleet.terminate(&texts(&ids)).await.err();
            (Call::Discard(ids), error)
        });
    }
}

/// Ends instances. EC2 ends all or none: when it refuses several because of a fault that one of them may have, each half
/// is tried, while the permit is valid and no call is throttled. Returns successes first, so that failures hold further
/// calls back.
pub(super) async fn end_with_splits(
    fleet: &Fleet,
    permit: &ActingPermit,
    end: End,
    stops: Vec<Stop>,
    asked_at: Timestamp,
) -> Vec<Outcome> {
    let (mut done, mut waiting) = (Vec::new(), vec![stops]);
    let (mut calls, mut splits) = (0_u32, 0);
    while let Some(mut stops) = waiting.pop() {
        let error = if permit.is_valid() {
            calls += 1;
            let error = call(fleet, end, &stops).await;
            if let Some(error) = &error
                && stops.len() > 1
                && may_concern_one(error)
            {
                tracing::warn!(%error, instances = stops.len(), "instances cannot be ended together; trying each half");
                splits += 1;
                waiting.push(stops.split_off(stops.len() / 2));
                waiting.push(stops);
                continue;
            }
            if error.as_ref().is_some_and(FleetError::is_throttled) {
                // The other calls would be throttled as well, so none is made.
                stops.extend(waiting.drain(..).flatten());
            }
            error
        } else {
            Some(permit::expired())
        };
        done.push(Outcome::new(end.call(stops), asked_at, error));
    }
    done.sort_by_key(Outcome::has_failed);
    if let Some(first) = done.first_mut() {
        first.further_calls = calls.saturating_sub(1);
        first.split_calls = splits;
    }
    done
}

async fn call(fleet: &Fleet, end: End, stops: &[Stop]) -> Option<FleetError> {
    let ids = texts(&ids(stops));
    match end {
        End::Stop => fleet.stop(&ids).await.err(),
        End::Terminate => fleet.terminate(&ids).await.err(),
    }
}

pub(super) fn ids(stops: &[Stop]) -> Vec<InstanceId> {
    stops.iter().map(|stop| stop.id.clone()).collect()
}

/// Returns whether EC2 refused for a reason that need not hold for each of several instances.
fn may_concern_one(error: &FleetError) -> bool {
    match error {
        FleetError::Refused { code, .. } => {
            matches!(
                code.as_str(),
                "InvalidInstanceID.NotFound" | "IncorrectInstanceState"
            ) || !error.is_transient()
        }
        FleetError::Unavailable(_) => false,
    }
}
