use platform::fleet::FleetError;

use super::call::{Call, End, ExecutionEvent, Outcome};
use super::stop::ids;
use super::{Executor, permit};
use crate::fleet::FleetView;
use crate::plan::{InstanceId, Stop, Timestamp};

impl Executor {
    /// Records the outcome of a call in `view`, and returns what it has brought about.
    #[must_use]
    pub fn finish(
        &mut self,
        outcome: Outcome,
        view: &mut FleetView,
        now: Timestamp,
    ) -> Vec<ExecutionEvent> {
        let Outcome {
            call,
            asked_at,
            error,
            further_calls,
            split_calls,
            span,
        } = outcome;
        let _deciding = span.enter();
        let error = error.as_ref();
        self.throttle.spend(call.action(), further_calls);
        if error.is_some_and(FleetError::is_throttled) {
            self.throttle.throttled(call.action(), now);
        }
        let mut events = match &call {
            Call::Start(ids) => self.finish_start(ids, asked_at, error, view, now),
            Call::Launch(launch, launched) => {
                self.finish_launch(launch, launched, asked_at, error, view, now)
            }
            Call::Stop(stops) => self.finish_stop(End::Stop, stops, error, view, now),
            Call::Terminate(stops) => self.finish_stop(End::Terminate, stops, error, view, now),
            Call::Discard(ids) => self.finish_discard(ids, error, view, now),
            Call::Rename { id, number } => {
                self.rename.note(error, now);
                match error {
                    Some(_) => view.not_renamed(id),
                    None => view.renamed(id, *number, now),
                }
                Vec::new()
            }
        };
        let failed = error.filter(|error| permit::was_made(error));
        if let Some(error) = failed {
            let transient = error.is_transient();
            tracing::warn!(call = call.name(), %error, transient, "a call to EC2 failed");
        }
        let failed = split_calls as usize + usize::from(failed.is_some());
        events.extend(vec![
            ExecutionEvent::CallFailed { call: call.name() };
            failed
        ]);
        events
    }

    fn finish_stop(
        &mut self,
        end: End,
        stops: &[Stop],
        error: Option<&FleetError>,
        view: &mut FleetView,
        now: Timestamp,
    ) -> Vec<ExecutionEvent> {
        self.stop.note(error, now);
        note_stop_called(&ids(stops), error, view, now);
        if let Some(error) = error {
            if end == End::Terminate {
                note_permission(error, view);
            }
            return Vec::new();
        }
        for stop in stops {
            if stop.cause.is_failed_boot() {
                view.boot_failed(&stop.id, now);
            }
            if stop.cause.is_failure() {
                let deadline = if stop.cause.is_failed_boot() {
                    "--boot-deadline"
                } else {
                    "--silence-deadline"
                };
                tracing::warn!(instance = %stop.id, cause = ?stop.cause, deadline, "gave a worker up");
            }
        }
        let stopped = stops.iter().map(|stop| ExecutionEvent::Stopped {
            cause: stop.cause,
            terminated: end == End::Terminate,
        });
        stopped.collect()
    }

    fn finish_discard(
        &mut self,
        ids: &[InstanceId],
        error: Option<&FleetError>,
        view: &mut FleetView,
        now: Timestamp,
    ) -> Vec<ExecutionEvent> {
        self.discard.note(error, now);
        note_stop_called(ids, error, view, now);
        if let Some(error) = error {
            note_permission(error, view);
            return Vec::new();
        }
        let instances = ids.len() as u64;
        vec![ExecutionEvent::Discarded { instances }]
    }
}

/// A stop that may have happened counts as one: a worker that is uncordoned now could be stopped at work.
fn note_stop_called(
    ids: &[InstanceId],
    error: Option<&FleetError>,
    view: &mut FleetView,
    now: Timestamp,
) {
    match error {
        Some(error) if !error.may_have_happened() => view.not_stopping(ids),
        _ => view.stop_called(ids, now),
    }
}

/// A scaler that may not terminate instances stops those whose boots fail, and starts outdated ones again.
fn note_permission(error: &FleetError, view: &mut FleetView) {
    if error.code() == Some("UnauthorizedOperation") {
        tracing::warn!(
            "EC2 does not permit to terminate instances, so outdated ones and those that never boot stay in the pool: allow ec2:TerminateInstances"
        );
        view.keep_broken();
        view.keep_outdated();
    }
}
