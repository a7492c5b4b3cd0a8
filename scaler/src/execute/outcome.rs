use platform::fleet::FleetError;

use super::launch::UnsureLaunch;
use super::{Executor, Totals};
use crate::metric;
use crate::observe::World;
use crate::plan::{InstanceId, Moment, Stop, StopCause};

/// What became of a call to EC2.
#[derive(Debug)]
pub struct Outcome {
    pub(super) call: Call,
    pub(super) asked_at: Moment,
    pub(super) error: Option<FleetError>,
}

/// A call to EC2, as far as its outcome needs it.
#[derive(Debug)]
pub(super) enum Call {
    Start(Vec<InstanceId>),
    Launch {
        count: u32,
        token: String,
        launched: Vec<InstanceId>,
    },
    Stop(Vec<Stop>),
    Rename {
        id: InstanceId,
        number: u32,
    },
}

impl Executor {
    /// Takes note of what became of a call; `true` when EC2 should be asked at once how things stand.
    pub fn finish(&mut self, outcome: Outcome, world: &mut World, now: Moment) -> bool {
        let Outcome {
            call,
            asked_at,
            error,
        } = outcome;
        match &call {
            Call::Start(ids) => self.finish_start(ids, asked_at, error.as_ref(), world, now),
            Call::Launch {
                count,
                token,
                launched,
            } => {
                world.launching = world.launching.saturating_sub(*count);
                world.starting(launched, now);
                self.unsure_launch = match &error {
                    Some(FleetError::Unavailable(_)) => Some(UnsureLaunch {
                        count: *count,
                        token: token.clone(),
                        ordered_at: asked_at,
                        failed_at: now,
                    }),
                    _ => None,
                };
                self.launch.note(error.as_ref(), now);
                if error.is_none() {
                    self.count_start(&mut |totals| &mut totals.launched, launched.len(), asked_at);
                }
            }
            Call::Stop(stops) => self.finish_stop(stops, error.as_ref(), world, now),
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

    fn finish_start(
        &mut self,
        ids: &[InstanceId],
        asked_at: Moment,
        error: Option<&FleetError>,
        world: &mut World,
        now: Moment,
    ) {
        self.start.note(error, now);
        if error.is_some() {
            world.not_starting(ids);
        } else {
            self.count_start(&mut |totals| &mut totals.started, ids.len(), asked_at);
        }
    }

    fn finish_stop(
        &mut self,
        stops: &[Stop],
        error: Option<&FleetError>,
        world: &mut World,
        now: Moment,
    ) {
        self.stop.note(error, now);
        let ids: Vec<_> = stops.iter().map(|stop| stop.id.clone()).collect();
        match error {
            Some(FleetError::Refused { .. }) => world.not_stopping(&ids),
            // It may have happened, or happen yet: a worker that were called back now could be stopped at work.
            Some(FleetError::Unavailable(_)) | None => world.stop_called(&ids, now),
        }
        if error.is_some() {
            return;
        }
        for stop in stops {
            self.totals.stopped += 1;
            if stop.cause != StopCause::Drained {
                self.totals.silent_workers_stopped += 1;
                tracing::warn!(instance = %stop.id, cause = ?stop.cause, "gave a worker up");
            }
            metric::stopped(stop.cause);
        }
    }

    fn count_start(
        &mut self,
        total: &mut dyn FnMut(&mut Totals) -> &mut u64,
        count: usize,
        asked_at: Moment,
    ) {
        *total(&mut self.totals) += count as u64;
        self.totals.first_start_at.get_or_insert(asked_at);
        metric::started(count);
    }
}

impl Call {
    fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "StartInstances",
            Self::Launch { .. } => "RunInstances",
            Self::Stop(_) => "StopInstances",
            Self::Rename { .. } => "CreateTags",
        }
    }
}
