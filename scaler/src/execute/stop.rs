use platform::fleet::{Fleet, FleetError};

use super::license::{self, License};
use super::limits::Action;
use super::outcome::Call;
use super::{Executor, Outcome, texts};
use crate::metric;
use crate::observe::World;
use crate::plan::{InstanceId, Stop, StopCause, Timestamp};

/// How an instance is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It goes back to the pool.
    Stop,
    /// It cannot be started again, or should not.
    Terminate,
}

impl Executor {
    pub(super) fn stop_instances(&mut self, stops: &[Stop], world: &mut World, now: Timestamp) {
        let is_for_good = |stop: &&Stop| {
            let is_hopeless = stop.cause == StopCause::NeverAttended && world.fails_again(&stop.id);
            world.is_spot(&stop.id) || is_hopeless || stop.cause == StopCause::NeverStarted
        };
        let (terminate, stop): (Vec<_>, Vec<_>) = stops.iter().partition(is_for_good);
        self.end_instances(End::Stop, stop, world, now);
        self.end_instances(End::Terminate, terminate, world, now);
    }

    /// Ends as many as may be ended now. The plan asks for the others again.
    fn end_instances(&mut self, end: End, stops: Vec<&Stop>, world: &mut World, now: Timestamp) {
        let wanted = u32::try_from(stops.len()).unwrap_or(u32::MAX);
        if wanted == 0 {
            return;
        }
        let count = self.limits.take(end.action(), wanted, now) as usize;
        let mut stops: Vec<_> = stops.into_iter().take(count).cloned().collect();
        stops.retain(|stop| self.attendance.condemn(&stop.id, stop.cause, now));
        if stops.is_empty() {
            return;
        }
        for stop in &stops {
            if stop.cause.is_failed_boot() {
                world.giving_up(&stop.id);
            }
        }
        let ids: Vec<_> = stops.iter().map(|stop| stop.id.clone()).collect();
        world.stopping(&ids, now);
        let (fleet, outcomes) = (self.fleet.clone(), self.outcomes.clone());
        let license = self.license();
        self.calls.spawn(async move {
            let ended = end_what_can_be(&fleet, &license, end, stops).await;
            for (stops, error, further_calls) in ended {
                let outcome = Outcome {
                    call: end.call(stops),
                    asked_at: now,
                    error,
                    further_calls,
                };
                // Nobody listens any more when the scaler shuts down.
                drop(outcomes.send(outcome).await);
            }
        });
    }

    pub(super) fn discard_instances(&mut self, world: &mut World, now: Timestamp) {
        let ids = world.hopeless();
        let is_held = self.discard.until().is_some_and(|until| now < until);
        if ids.is_empty() || is_held {
            return;
        }
        let wanted = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let count = self.limits.take(Action::Terminate, wanted, now) as usize;
        let ids: Vec<InstanceId> = ids.into_iter().take(count).collect();
        if ids.is_empty() {
            return;
        }
        tracing::warn!(instances = ?texts(&ids), "instances that failed to boot again and again are terminated, besides what was planned");
        world.stopping(&ids, now);
        let fleet = self.fleet.clone();
        self.spawn(now, async move {
            let error = fleet.terminate(&texts(&ids)).await.err();
            (Call::Discard(ids), error)
        });
    }
}

impl End {
    pub(super) fn action(self) -> Action {
        match self {
            Self::Stop => Action::Stop,
            Self::Terminate => Action::Terminate,
        }
    }

    fn call(self, stops: Vec<Stop>) -> Call {
        match self {
            Self::Stop => Call::Stop(stops),
            Self::Terminate => Call::Terminate(stops),
        }
    }
}

/// Some instances, what came of the call that ended them, and how many calls besides the first it took to know.
pub(super) type Ended = (Vec<Stop>, Option<FleetError>, u32);

/// EC2 ends all or none. When it refuses several for what may be the matter with one of them, it is asked for each half of
/// them, for as long as this scaler may act. Failures come last, so that it is they which hold further calls back.
pub(super) async fn end_what_can_be(
    fleet: &Fleet,
    license: &License,
    end: End,
    stops: Vec<Stop>,
) -> Vec<Ended> {
    let (mut done, mut waiting) = (Vec::new(), vec![stops]);
    let (mut calls, mut throttled) = (0_u32, false);
    while let Some(mut stops) = waiting.pop() {
        if throttled {
            let code = "RequestLimitExceeded".to_owned();
            let message = "others of the same order were throttled".to_owned();
            done.push((stops, Some(FleetError::Refused { code, message }), 0));
            continue;
        }
        if !license.holds() {
            done.push((stops, Some(license::expired()), 0));
            continue;
        }
        calls += 1;
        match call(fleet, end, &stops).await {
            Some(error) if stops.len() > 1 && may_concern_one(&error) => {
                metric::refused(end.call(Vec::new()).name());
                tracing::warn!(%error, instances = stops.len(), "instances cannot be ended together, so half of them are");
                waiting.push(stops.split_off(stops.len() / 2));
                waiting.push(stops);
            }
            error => {
                throttled = error.as_ref().is_some_and(FleetError::is_throttled);
                done.push((stops, error, 0));
            }
        }
    }
    done.sort_by_key(|(_, error, _)| error.is_some());
    if let Some((_, _, further_calls)) = done.first_mut() {
        *further_calls = calls.saturating_sub(1);
    }
    done
}

async fn call(fleet: &Fleet, end: End, stops: &[Stop]) -> Option<FleetError> {
    let ids: Vec<_> = stops.iter().map(|stop| stop.id.clone()).collect();
    match end {
        End::Stop => fleet.stop(&texts(&ids)).await.err(),
        End::Terminate => fleet.terminate(&texts(&ids)).await.err(),
    }
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
