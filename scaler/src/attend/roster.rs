use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proto::v1::worker_order::Order;
use proto::v1::{Cordon, Uncordon, WorkerOrder, WorkerReport, WorkerState};
use tokio::sync::watch;

use crate::plan::{InstanceId, State, StopCause, Timestamp};

/// A worker that acknowledged its call back and still calls itself cordoned is called again after this time.
const REPEAT_ORDER_AFTER: Duration = Duration::from_secs(1);
/// How long a worker without instance and without stream is remembered.
const GONE_REMEMBERED: Duration = Duration::from_secs(600);

/// The workers by instance: what they reported last, and what is wanted of them.
#[derive(Debug, Default)]
pub struct Roster {
    workers: HashMap<InstanceId, Worker>,
    /// The instances that may attend: those that EC2 lists, and those that were launched and are not listed yet.
    fleet: HashSet<InstanceId>,
    next_session: u64,
    /// See `muster.v1.Totals`.
    busy_workers_stopped: u64,
}

/// Names a worker's stream among all of the scaler's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionId {
    instance: InstanceId,
    number: u64,
}

/// What is known of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attending {
    /// One of booting, idle, busy, draining, cordoned and stopping; absent when the worker never reported, but is
    /// wanted to work.
    pub state: Option<State>,
    pub since: Timestamp,
    /// When it last reported.
    pub heard: Option<Timestamp>,
    /// Whether EC2 is going to end its instance, as it reported. It takes no work and cannot be called back.
    pub leaving: bool,
}

#[derive(Debug)]
struct Worker {
    /// Not [`Wanted::Working`] while it is leaving.
    wanted: Wanted,
    /// Whether its last report told of an interruption.
    leaving: bool,
    session: Option<Session>,
    reported: Option<WorkerState>,
    completed: u64,
    heard: Option<Timestamp>,
    /// Whether it reported to be busy since it was last ordered to stop.
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
enum Wanted {
    Working,
    Cordoned,
    Stopped(StopCause),
}

impl Roster {
    /// A new stream of a worker, which learns at once if it is to be cordoned. Absent when the instance is none of the
    /// fleet's, as far as is known: nothing is remembered of it.
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
            let (sequence, acknowledged) = (0, 0);
            worker.session = Some(Session {
                number,
                orders,
                sequence,
                ordered_at: now,
                acknowledged,
            });
            if worker.wanted != Wanted::Working {
                worker.order(Order::Cordon(Cordon {}), now);
            }
        });
        Some(SessionId {
            instance: id.clone(),
            number,
        })
    }

    /// The stream has ended. What is known of the worker stays: it may come back.
    pub fn leave(&mut self, id: &SessionId, now: Timestamp) {
        if let Some(worker) = self.of_session(id) {
            worker.change(now, |worker| worker.session = None);
        }
    }

    /// Whether the report changed anything that matters; absent when the stream is not the worker's newest.
    pub fn report(
        &mut self,
        id: &SessionId,
        report: &WorkerReport,
        now: Timestamp,
    ) -> Option<bool> {
        let worker = self.of_session(id)?;
        let before = (worker.state(), worker.since, worker.leaving);
        worker.change(now, |worker| worker.take(report, now));
        let changed = (worker.state(), worker.since, worker.leaving) != before;
        let is_busy = worker.reported == Some(WorkerState::Busy);
        let is_stopped_as_idle = worker.wanted == Wanted::Stopped(StopCause::Drained);
        if is_busy && is_stopped_as_idle && !std::mem::replace(&mut worker.found_busy, true) {
            self.busy_workers_stopped += 1;
            tracing::error!(instance = %id.instance, "a worker took work after it confirmed to be cordoned");
        }
        Some(changed)
    }

    pub fn get(&self, id: &InstanceId) -> Option<Attending> {
        let worker = self.workers.get(id)?;
        Some(Attending {
            state: worker.state(),
            since: worker.since,
            heard: worker.heard,
            leaving: worker.leaving,
        })
    }

    /// Stands until it is taken back, also for a worker that is yet to attend.
    pub fn cordon(&mut self, id: &InstanceId, now: Timestamp) {
        let worker = self.worker(id, now);
        if worker.wanted == Wanted::Working {
            worker.change(now, |worker| worker.withdraw(now));
        }
    }

    /// Without effect on a worker that is leaving: it would not obey.
    pub fn uncordon(&mut self, id: &InstanceId, now: Timestamp) {
        let worker = self.worker(id, now);
        if worker.wanted == Wanted::Cordoned && !worker.leaving {
            worker.change(now, |worker| {
                worker.wanted = Wanted::Working;
                worker.order(Order::Uncordon(Uncordon {}), now);
            });
        }
    }

    /// Whether stopping is still right by what was reported since it was planned, at `planned_at`.
    pub fn condemn(
        &mut self,
        id: &InstanceId,
        cause: StopCause,
        planned_at: Timestamp,
        now: Timestamp,
    ) -> bool {
        let worker = self.worker(id, now);
        let is_right = match cause {
            StopCause::Drained => worker.state() == Some(State::Cordoned),
            StopCause::NeverAttended | StopCause::NeverStarted => worker.heard.is_none(),
            StopCause::Silent => worker.heard.is_some_and(|heard| heard < planned_at),
        };
        if is_right {
            worker.change(now, |worker| {
                (worker.wanted, worker.found_busy) = (Wanted::Stopped(cause), false);
            });
        }
        is_right
    }

    pub fn pardon(&mut self, id: &InstanceId, now: Timestamp) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.change(now, |worker| match worker.wanted {
                Wanted::Stopped(StopCause::Drained) => worker.wanted = Wanted::Cordoned,
                Wanted::Stopped(_) if worker.leaving => worker.withdraw(now),
                Wanted::Stopped(_) => worker.wanted = Wanted::Working,
                Wanted::Working | Wanted::Cordoned => {}
            });
        }
    }

    pub fn forget(&mut self, id: &InstanceId) {
        self.workers.remove(id);
    }

    /// Lets these instances attend as well.
    pub fn admit(&mut self, ids: impl IntoIterator<Item = InstanceId>) {
        self.fleet.extend(ids);
    }

    /// From now on these instances may attend and no others. Workers of others that are long gone are forgotten.
    pub fn fleet_is(&mut self, fleet: HashSet<InstanceId>, now: Timestamp) {
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
            wanted: Wanted::Working,
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
    fn state(&self) -> Option<State> {
        match self.wanted {
            Wanted::Stopped(_) => Some(State::Stopping),
            Wanted::Cordoned if self.has_confirmed() => Some(State::Cordoned),
            Wanted::Cordoned => Some(State::Draining),
            Wanted::Working => Some(match self.reported? {
                WorkerState::Unspecified | WorkerState::Booting => State::Booting,
                // One that calls itself cordoned was called back and is about to take work.
                WorkerState::Idle | WorkerState::Cordoned => State::Idle,
                WorkerState::Busy => State::Busy,
            }),
        }
    }

    /// Only a report that answers the newest order of the present stream counts: an older one may have crossed it.
    fn has_confirmed(&self) -> bool {
        let answered =
            |session: &Session| session.sequence > 0 && session.acknowledged == session.sequence;
        self.reported == Some(WorkerState::Cordoned) && self.session.as_ref().is_some_and(answered)
    }

    fn take(&mut self, report: &WorkerReport, now: Timestamp) {
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
        // A number that no order had yet confirms none, also not the order that gets it later.
        session.acknowledged = Some(report.order_sequence)
            .filter(|sequence| *sequence <= session.sequence)
            .unwrap_or(0);
        if self.wanted != Wanted::Working {
            return;
        }
        if self.leaving {
            // It has cordoned itself. The order to do so is sent all the same: its answer tells that the order before,
            // which may have called it back, is not on its way any more, and it stays cordoned if the notice is
            // withdrawn. The plan is to say what becomes of it then.
            self.withdraw(now);
            return;
        }
        if state != WorkerState::Cordoned {
            return;
        }
        if session.sequence == 0 {
            // It was cordoned by an earlier scaler, or on an earlier stream. The plan is to say what becomes of it.
            self.withdraw(now);
        } else if session.acknowledged == session.sequence
            && now.since(session.ordered_at) >= REPEAT_ORDER_AFTER
        {
            self.order(Order::Uncordon(Uncordon {}), now);
        }
    }

    fn withdraw(&mut self, now: Timestamp) {
        self.wanted = Wanted::Cordoned;
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
