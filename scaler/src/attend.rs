//! What the workers say, and what they are told.

mod roster;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::v1::{WorkerOrder, WorkerReport};
pub use roster::{Attending, Roster, SessionId};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::plan::{InstanceId, StopCause, Timestamp};

/// The roster of all workers, shared by their sessions and the loop. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Attendance {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    roster: Mutex<Roster>,
    changed: Notify,
}

/// One worker's stream. Dropping it tells the roster that the stream ended.
#[derive(Debug)]
pub struct Session {
    attendance: Attendance,
    id: SessionId,
}

impl Attendance {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let (roster, changed) = (Mutex::default(), Notify::new());
        Self {
            shared: Arc::new(Shared {
                clock,
                roster,
                changed,
            }),
        }
    }

    /// Takes up a worker's new stream; an older one of the same worker ends. `orders` brings it the newest order. Absent
    /// when the instance is none of the fleet's, as far as is known.
    #[must_use]
    pub fn join(
        &self,
        id: &InstanceId,
        orders: watch::Sender<Option<WorkerOrder>>,
    ) -> Option<Session> {
        let id = self.lock().join(id, orders, self.shared.clock.now())?;
        Some(Session {
            attendance: self.clone(),
            id,
        })
    }

    /// Waits for a worker's state to change.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// What is known of a worker; absent when it has not reported since its instance started.
    #[must_use]
    pub fn get(&self, id: &InstanceId) -> Option<Attending> {
        self.lock().get(id)
    }

    pub fn cordon(&self, id: &InstanceId) {
        self.lock().cordon(id, self.shared.clock.now());
    }

    pub fn uncordon(&self, id: &InstanceId) {
        self.lock().uncordon(id, self.shared.clock.now());
    }

    /// Notes that the instance is being stopped; `false` when a report since `planned_at` has made that wrong.
    #[must_use]
    pub fn condemn(&self, id: &InstanceId, cause: StopCause, planned_at: Timestamp) -> bool {
        self.lock()
            .condemn(id, cause, planned_at, self.shared.clock.now())
    }

    /// Takes back [`Attendance::condemn`]: the instance could not be stopped.
    pub fn pardon(&self, id: &InstanceId) {
        self.lock().pardon(id, self.shared.clock.now());
    }

    /// Forgets a worker, as its instance was stopped or is started anew.
    pub fn forget(&self, id: &InstanceId) {
        self.lock().forget(id);
    }

    /// Lets these instances attend as well.
    pub fn admit(&self, ids: &[InstanceId]) {
        self.lock().admit(ids.iter().cloned());
    }

    /// From now on these instances may attend and no others. Workers of others that are long gone are forgotten.
    pub fn fleet_is(&self, fleet: HashSet<InstanceId>) {
        self.lock().fleet_is(fleet, self.shared.clock.now());
    }

    /// How many workers reported to be busy after they were ordered to stop as idle; each counts once for each order.
    #[must_use]
    pub fn busy_workers_stopped(&self) -> u64 {
        self.lock().busy_workers_stopped()
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.shared
            .roster
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Takes a report; `false` when another stream has taken this one's place.
    #[must_use]
    pub fn report(&self, report: &WorkerReport) -> bool {
        let shared = &self.attendance.shared;
        let taken = self
            .attendance
            .lock()
            .report(&self.id, report, shared.clock.now());
        if taken == Some(true) {
            shared.changed.notify_one();
        }
        taken.is_some()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let shared = &self.attendance.shared;
        self.attendance.lock().leave(&self.id, shared.clock.now());
        shared.changed.notify_one();
    }
}
