use platform::fleet::FleetError;

use super::launch::UnsureLaunch;
use super::limits::Action;
use super::places::Place;
use super::stop::End;
use super::{Executor, Totals};
use crate::metric;
use crate::observe::World;
use crate::plan::{InstanceId, Stop, StopCause, Timestamp};

/// What became of a call to EC2.
#[derive(Debug)]
pub struct Outcome {
    pub(super) call: Call,
    pub(super) asked_at: Timestamp,
    pub(super) error: Option<FleetError>,
    /// Calls of the same action besides the one that was accounted for.
    pub(super) further_calls: u32,
}

/// A call to EC2, as far as its outcome needs it.
#[derive(Debug)]
pub(super) enum Call {
    Start(Vec<InstanceId>),
    Launch(Launch),
    Stop(Vec<Stop>),
    Terminate(Vec<Stop>),
    /// Terminates instances that are stopped already.
    Discard(Vec<InstanceId>),
    Rename {
        id: InstanceId,
        number: u32,
    },
}

#[derive(Debug)]
pub(super) struct Launch {
    pub count: u32,
    pub place: Place,
    pub token: String,
    /// The launch without an answer that this one repeats.
    pub repeats: Option<UnsureLaunch>,
    pub launched: Vec<InstanceId>,
}

impl Executor {
    /// Takes note of what became of a call; `true` when EC2 should be asked at once how things stand.
    pub fn finish(&mut self, outcome: Outcome, world: &mut World, now: Timestamp) -> bool {
        let Outcome {
            call,
            asked_at,
            error,
            further_calls,
        } = outcome;
        self.limits.spend(call.action(), further_calls);
        if error.as_ref().is_some_and(FleetError::is_throttled) {
            self.limits.throttled(call.action(), now);
        }
        match &call {
            Call::Start(ids) => self.finish_start(ids, asked_at, error.as_ref(), world, now),
            Call::Launch(launch) => {
                self.finish_launch(launch, asked_at, error.as_ref(), world, now);
            }
            Call::Stop(stops) => self.finish_stop(End::Stop, stops, error.as_ref(), world, now),
            Call::Terminate(stops) => {
                self.finish_stop(End::Terminate, stops, error.as_ref(), world, now);
            }
            Call::Discard(ids) => self.finish_discard(ids, error.as_ref(), world, now),
            Call::Rename { id, number } => {
                self.rename.note(error.as_ref(), now);
                match &error {
                    Some(_) => world.not_renamed(id),
                    None => world.renamed(id, *number, now),
                }
            }
        }
        if let Some(error) = &error {
            metric::refused(call.name());
            let transient = error.is_transient();
            tracing::warn!(call = call.name(), %error, transient, "a call to EC2 failed");
        }
        error.is_some()
    }

    fn finish_stop(
        &mut self,
        end: End,
        stops: &[Stop],
        error: Option<&FleetError>,
        world: &mut World,
        now: Timestamp,
    ) {
        self.stop.note(error, now);
        let ids: Vec<_> = stops.iter().map(|stop| stop.id.clone()).collect();
        match error {
            Some(error) if !error.may_have_happened() => world.not_stopping(&ids),
            // A worker that were called back now could be stopped at work.
            _ => world.stop_called(&ids, now),
        }
        if let Some(error) = error {
            if end == End::Terminate {
                note_whether_permitted(error, world);
            }
            return;
        }
        for stop in stops {
            self.totals.stopped += 1;
            if end == End::Terminate {
                self.totals.terminated += 1;
            }
            if stop.cause == StopCause::NeverAttended {
                self.totals.never_attended_stopped += 1;
            }
            if stop.cause.is_failed_boot() {
                world.boot_failed(&stop.id, now);
            }
            if stop.cause != StopCause::Drained {
                self.totals.silent_workers_stopped += 1;
                tracing::warn!(instance = %stop.id, cause = ?stop.cause, "gave a worker up");
            }
            metric::stopped(stop.cause);
        }
    }

    fn finish_discard(
        &mut self,
        ids: &[InstanceId],
        error: Option<&FleetError>,
        world: &mut World,
        now: Timestamp,
    ) {
        self.discard.note(error, now);
        match error {
            Some(error) => {
                if error.may_have_happened() {
                    world.stop_called(ids, now);
                } else {
                    world.not_stopping(ids);
                }
                note_whether_permitted(error, world);
            }
            None => {
                world.stop_called(ids, now);
                self.totals.terminated += ids.len() as u64;
            }
        }
    }

    pub(super) fn count_start(
        &mut self,
        total: &mut dyn FnMut(&mut Totals) -> &mut u64,
        count: usize,
        asked_at: Timestamp,
    ) {
        *total(&mut self.totals) += count as u64;
        self.totals.first_start_at.get_or_insert(asked_at);
        metric::started(count);
    }
}

/// A scaler that may not terminate instances stops those whose boots fail, as it does with all others.
fn note_whether_permitted(error: &FleetError, world: &mut World) {
    if error.code() == Some("UnauthorizedOperation") {
        tracing::warn!("instances cannot be terminated, so those that never boot stay in the pool");
        world.keep_hopeless();
    }
}

impl Call {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "StartInstances",
            Self::Launch(_) => "RunInstances",
            Self::Stop(_) => "StopInstances",
            Self::Terminate(_) | Self::Discard(_) => "TerminateInstances",
            Self::Rename { .. } => "CreateTags",
        }
    }

    fn action(&self) -> Action {
        match self {
            Self::Start(_) => Action::Start,
            Self::Launch(_) => Action::Launch,
            Self::Stop(_) => Action::Stop,
            Self::Terminate(_) | Self::Discard(_) => Action::Terminate,
            Self::Rename { .. } => Action::Rename,
        }
    }
}
