//! The registry's state, without lock or clock.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proto::v1::worker_order::Order;
use proto::v1::{Cordon, Uncordon, WorkerOrder, WorkerReport, WorkerState};
use tokio::sync::watch;

use crate::plan::{InstanceId, InstanceState, StopCause, Timestamp};

/// A worker that acknowledged an uncordon order and still reports cordoned gets the order again after this time.
const REPEAT_ORDER_AFTER: Duration = Duration::from_secs(1);
/// How long a worker without instance and without stream is remembered.
const GONE_REMEMBERED: Duration = Duration::from_secs(600);

/// The workers by instance: their last report, and their desired state.
#[derive(Debug, Default)]
pub struct Workers {
    workers: HashMap<InstanceId, Worker>,
    /// The instances that may attend: those that EC2 lists, and those that were launched and are not listed yet.
    fleet: HashSet<InstanceId>,
    next_session: u64,
    /// See `muster.v1.Totals`.
    busy_workers_stopped: u64,
}

/// Identifies a worker's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionId {
    instance: InstanceId,
    number: u64,
}

/// What is known about a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Booting, idle, busy, draining, cordoned or stopping; `None` when the worker never reported and no order to it
    /// stands.
    pub state: Option<InstanceState>,
    pub since: Timestamp,
    /// When it last reported.
    pub heard: Option<Timestamp>,
    /// Whether its last report announced that EC2 will end its instance. It takes no work and cannot be uncordoned.
    pub leaving: bool,
}

#[derive(Debug)]
struct Worker {
    /// Never [`DesiredState::Working`] while `leaving`.
    desired: DesiredState,
    leaving: bool,
    session: Option<Session>,
    reported: Option<WorkerState>,
    completed: u64,
    heard: Option<Timestamp>,
    /// Whether it reported to be busy since it was last marked as stopping.
    found_busy: bool,
    /// Since when it is in its present [`Worker::state`].
    since: Timestamp,
}

#[derive(Debug)]
struct Session {
    number: u64,
    orders: watch::Sender<Option<WorkerOrder>>,
    /// Of the newest order on this stream.
    sequence: u64,
    ordered_at: Timestamp,
    acknowledged: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DesiredState {
    Working,
    Cordoned,
    Stopped(StopCause),
}

impl Workers {
    /// Registers a worker's new stream, and repeats a standing cordon order on it. Returns `None`, and remembers
    /// nothing, for an instance that is not known to belong to the fleet.
    pub fn join(
        &mut self,
        id: &InstanceId,
        orders: watch::Sender<Option<WorkerOrder>>,
        now: Timestamp,
    ) -> Option<SessionId> {
        if !self.fleet.contains(id) {
            return None;
        }
        self.next_session += 1;
        let number = self.next_session;
        self.worker(id, now).change(now, |worker| {
            worker.session = Some(Session {
                number,
                orders,
                sequence: 0,
                ordered_at: now,
                acknowledged: 0,
            });
            if worker.desired != DesiredState::Working {
                worker.order(Order::Cordon(Cordon {}), now);
            }
        });
        Some(SessionId {
            instance: id.clone(),
            number,
        })
    }

    /// Ends a stream. What is known about the worker stays: it may come back.
    pub fn leave(&mut self, id: &SessionId, now: Timestamp) {
        if let Some(worker) = self.of_session(id) {
            worker.change(now, |worker| worker.session = None);
        }
    }

    /// Records a report. Returns whether the worker's state changed; `None` when the stream is not the worker's newest.
    pub fn report(
        &mut self,
        id: &SessionId,
        report: &WorkerReport,
        now: Timestamp,
    ) -> Option<bool> {
        let worker = self.of_session(id)?;
        let before = (worker.state(), worker.since, worker.leaving);
        worker.change(now, |worker| worker.record(report, now));
        let changed = (worker.state(), worker.since, worker.leaving) != before;
        let is_busy = worker.reported == Some(WorkerState::Busy);
        let is_stopped_as_idle =
            matches!(worker.desired, DesiredState::Stopped(cause) if !cause.is_failure());
        if is_busy && is_stopped_as_idle && !std::mem::replace(&mut worker.found_busy, true) {
            self.busy_workers_stopped += 1;
            tracing::error!(instance = %id.instance, "a worker took work after it confirmed to be cordoned");
        }
        Some(changed)
    }

    pub fn get(&self, id: &InstanceId) -> Option<WorkerStatus> {
        let worker = self.workers.get(id)?;
        Some(WorkerStatus {
            state: worker.state(),
            since: worker.since,
            heard: worker.heard,
            leaving: worker.leaving,
        })
    }

    /// Orders a worker to take no more work. The order stands until [`uncordon`](Self::uncordon), also for a worker that
    /// has not attended yet.
    pub fn cordon(&mut self, id: &InstanceId, now: Timestamp) {
        let worker = self.worker(id, now);
        if worker.desired == DesiredState::Working {
            worker.change(now, |worker| worker.cordon(now));
        }
    }

    /// Orders a worker to take work again. Does nothing for a worker that is leaving: it would not obey.
    pub fn uncordon(&mut self, id: &InstanceId, now: Timestamp) {
        let worker = self.worker(id, now);
        if worker.desired == DesiredState::Cordoned && !worker.leaving {
            worker.change(now, |worker| {
                worker.desired = DesiredState::Working;
                worker.order(Order::Uncordon(Uncordon {}), now);
            });
        }
    }

    /// Marks a worker as stopping, unless a report since `planned_at` made the stop wrong. Returns whether it did.
    pub fn mark_stopping(
        &mut self,
        id: &InstanceId,
        cause: StopCause,
        planned_at: Timestamp,
        now: Timestamp,
    ) -> bool {
        if cause == StopCause::OutdatedStopped {
            // No worker runs there.
            return true;
        }
        let worker = self.worker(id, now);
        let is_right = match cause {
            StopCause::Drained | StopCause::Outdated | StopCause::OutdatedStopped => {
                worker.state() == Some(InstanceState::Cordoned)
            }
            StopCause::NeverAttended | StopCause::NeverStarted => worker.heard.is_none(),
            StopCause::Silent => worker.heard.is_some_and(|heard| heard < planned_at),
        };
        if is_right {
            worker.change(now, |worker| {
                (worker.desired, worker.found_busy) = (DesiredState::Stopped(cause), false);
            });
        }
        is_right
    }

    /// Reverts [`mark_stopping`](Self::mark_stopping).
    pub fn unmark_stopping(&mut self, id: &InstanceId, now: Timestamp) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.change(now, |worker| match worker.desired {
                DesiredState::Stopped(cause) if !cause.is_failure() => {
                    worker.desired = DesiredState::Cordoned
                }
                DesiredState::Stopped(_) if worker.leaving => worker.cordon(now),
                DesiredState::Stopped(_) => worker.desired = DesiredState::Working,
                DesiredState::Working | DesiredState::Cordoned => {}
            });
        }
    }

    pub fn forget(&mut self, id: &InstanceId) {
        self.workers.remove(id);
    }

    /// Admits more instances to the fleet.
    pub fn admit(&mut self, ids: impl IntoIterator<Item = InstanceId>) {
        self.fleet.extend(ids);
    }

    /// Admits these instances and no others. Forgets workers of other instances after a while.
    pub fn set_fleet(&mut self, fleet: HashSet<InstanceId>, now: Timestamp) {
        self.fleet = fleet;
        self.workers.retain(|id, worker| {
            let last_seen = worker.heard.unwrap_or(worker.since);
            self.fleet.contains(id)
                || worker.session.is_some()
                || now.since(last_seen) < GONE_REMEMBERED
        });
    }

    pub fn busy_workers_stopped(&self) -> u64 {
        self.busy_workers_stopped
    }

    fn worker(&mut self, id: &InstanceId, now: Timestamp) -> &mut Worker {
        self.workers.entry(id.clone()).or_insert_with(|| Worker {
            desired: DesiredState::Working,
            leaving: false,
            session: None,
            reported: None,
            completed: 0,
            heard: None,
            found_busy: false,
            since: now,
        })
    }

    fn of_session(&mut self, id: &SessionId) -> Option<&mut Worker> {
        let worker = self.workers.get_mut(&id.instance)?;
        (worker.session.as_ref()?.number == id.number).then_some(worker)
    }
}

impl Worker {
    fn state(&self) -> Option<InstanceState> {
        match self.desired {
            DesiredState::Stopped(_) => Some(InstanceState::Stopping),
            DesiredState::Cordoned if self.has_confirmed() => Some(InstanceState::Cordoned),
            DesiredState::Cordoned => Some(InstanceState::Draining),
            DesiredState::Working => Some(match self.reported? {
                WorkerState::Unspecified | WorkerState::Booting => InstanceState::Booting,
                // A cordoned worker that was uncordoned is about to take work.
                WorkerState::Idle | WorkerState::Cordoned => InstanceState::Idle,
                WorkerState::Busy => InstanceState::Busy,
            }),
        }
    }

    /// Only a report that acknowledges the newest order of the present stream counts: an older report may have crossed
    /// the order.
    fn has_confirmed(&self) -> bool {
        let acknowledged =
            |session: &Session| session.sequence > 0 && session.acknowledged == session.sequence;
        self.reported == Some(WorkerState::Cordoned)
            && self.session.as_ref().is_some_and(acknowledged)
    }

    fn record(&mut self, report: &WorkerReport, now: Timestamp) {
        let state = report.state();
        if report.completed != self.completed {
            // It was busy in between, even if no report said so.
            self.since = now;
        }
        (self.reported, self.completed, self.heard) = (Some(state), report.completed, Some(now));
        self.leaving = report.interruption.is_some();
        let Some(session) = &mut self.session else {
            return;
        };
        // A number that was not sent yet confirms no order, also not the later order that gets it.
        session.acknowledged = Some(report.order_sequence)
            .filter(|sequence| *sequence <= session.sequence)
            .unwrap_or(0);
        if self.desired != DesiredState::Working {
            return;
        }
        if self.leaving {
            // The worker has cordoned itself. The order is sent all the same: its acknowledgment proves that an
            // earlier uncordon order is no longer in flight. If EC2 withdraws the notice, the worker stays cordoned
            // until a plan decides.
            self.cordon(now);
            return;
        }
        if state != WorkerState::Cordoned {
            return;
        }
        if session.sequence == 0 {
            // An earlier scaler cordoned it, or this one on an earlier stream. The next plan decides.
            self.cordon(now);
        } else if session.acknowledged == session.sequence
            && now.since(session.ordered_at) >= REPEAT_ORDER_AFTER
        {
            self.order(Order::Uncordon(Uncordon {}), now);
        }
    }

    fn cordon(&mut self, now: Timestamp) {
        self.desired = DesiredState::Cordoned;
        self.order(Order::Cordon(Cordon {}), now);
    }

    fn order(&mut self, order: Order, now: Timestamp) {
        let Some(session) = &mut self.session else {
            return;
        };
        session.sequence += 1;
        session.ordered_at = now;
        let order = WorkerOrder {
            sequence: session.sequence,
            order: Some(order),
        };
        session.orders.send_replace(Some(order));
    }

    fn change(&mut self, now: Timestamp, change: impl FnOnce(&mut Self)) {
        let before = self.state();
        change(self);
        if self.state() != before {
            self.since = now;
        }
    }
}
