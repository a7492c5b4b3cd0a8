use futures::StreamExt;
use platform::fleet::{Fleet, FleetError};

use super::outcome::Call;
use super::{CALLS_AT_ONCE, Executor, Outcome, texts};
use crate::metric;
use crate::observe::World;
use crate::plan::{Moment, Stop};

impl Executor {
    pub(super) fn stop_instances(&mut self, stops: &[Stop], world: &mut World, now: Moment) {
        let mut stops = stops.to_vec();
        stops.retain(|stop| self.attendance.condemn(&stop.id, stop.cause, now));
        if stops.is_empty() {
            return;
        }
        let ids: Vec<_> = stops.iter().map(|stop| stop.id.clone()).collect();
        world.stopping(&ids, now);
        let (fleet, outcomes) = (self.fleet.clone(), self.outcomes.clone());
        self.calls.spawn(async move {
            for (stops, error) in stop_what_can_be(&fleet, stops).await {
                let outcome = Outcome {
                    call: Call::Stop(stops),
                    asked_at: now,
                    error,
                };
                // Nobody listens any more when the scaler shuts down.
                drop(outcomes.send(outcome).await);
            }
        });
    }
}

/// EC2 stops all or none. When it refuses several for what may be the matter with one of them, they are stopped one by
/// one. Failures come last, so that it is they which hold further calls back.
async fn stop_what_can_be(fleet: &Fleet, stops: Vec<Stop>) -> Vec<(Vec<Stop>, Option<FleetError>)> {
    let error = match call(fleet, &stops).await {
        Some(error) if stops.len() > 1 && may_concern_one(&error) => error,
        error => return vec![(stops, error)],
    };
    metric::refused("StopInstances");
    tracing::warn!(%error, instances = stops.len(), "instances cannot be stopped together, so they are one by one");
    let calls = futures::stream::iter(stops).map(async |stop| {
        let stops = vec![stop];
        let error = call(fleet, &stops).await;
        (stops, error)
    });
    let mut done: Vec<_> = calls.buffer_unordered(CALLS_AT_ONCE).collect().await;
    done.sort_by_key(|(_, error)| error.is_some());
    done
}

async fn call(fleet: &Fleet, stops: &[Stop]) -> Option<FleetError> {
    let ids: Vec<_> = stops.iter().map(|stop| stop.id.clone()).collect();
    fleet.stop(&texts(&ids)).await.err()
}

/// Whether EC2 refused for a reason that need not hold for each of several instances.
fn may_concern_one(error: &FleetError) -> bool {
    let of_an_instance = |code: &str| {
        matches!(
            code,
            "InvalidInstanceID.NotFound" | "IncorrectInstanceState"
        )
    };
    match error {
        FleetError::Refused { code, .. } => of_an_instance(code) || !error.is_transient(),
        FleetError::Unavailable(_) => false,
    }
}
