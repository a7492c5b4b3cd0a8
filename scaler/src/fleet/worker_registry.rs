//! The worker registry: what workers report, and what they are ordered to do.

#[cfg(test)]
mod tests;
mod workers;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::v1::{WorkerOrder, WorkerReport};
use tokio::sync::{Notify, watch};
pub use workers::{SessionId, WorkerStatus, Workers};

use crate::clock::Clock;
use crate::plan::{InstanceId, Moment, StopCause};

/// All workers, shared by their sessions and the reconciler. Cloning shares it.
#[derive(Debug, Clone)]
pub struct WorkerRegistry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    workers: Mutex<Workers>,
    changed: Notify,
}

/// One worker's stream. Dropping it tells the registry that the stream ended.
#[derive(Debug)]
pub struct WorkerSession {
    registry: WorkerRegistry,
    id: SessionId,
}

impl WorkerRegistry {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                workers: Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }

    /// Registers a worker's new stream; an older stream of the same worker ends. `orders` receives the newest order.
    /// Returns `None` for an instance that is not known to belong to the fleet.
    #[must_use]
    pub fn join(
        &self,
        id: &InstanceId,
        orders: watch::Sender<Option<WorkerOrder>>,
    ) -> Option<WorkerSession> {
        let id = self.lock().join(id, orders, self.shared.clock.now())?;
        Some(WorkerSession {
            registry: self.clone(),
            id,
        })
    }

    /// Waits for the state of any worker to change.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Returns what is known about a worker; `None` when it has not reported since its instance started.
    #[must_use]
    pub fn get(&self, id: &InstanceId) -> Option<WorkerStatus> {
        self.lock().get(id)
    }

    pub fn cordon(&self, id: &InstanceId) {
        self.lock().cordon(id, self.shared.clock.now());
    }

    pub fn uncordon(&self, id: &InstanceId) {
        self.lock().uncordon(id, self.shared.clock.now());
    }

    /// Marks the instance as stopping. Returns `false`, and marks nothing, when a report since `planned_at` made the
    /// stop wrong.
    #[must_use]
    pub fn mark_stopping(&self, id: &InstanceId, cause: StopCause, planned_at: Moment) -> bool {
        let now = self.shared.clock.now();
        self.lock().mark_stopping(id, cause, planned_at, now)
    }

    /// Reverts [`mark_stopping`](Self::mark_stopping): the instance could not be stopped.
    pub fn unmark_stopping(&self, id: &InstanceId) {
        self.lock().unmark_stopping(id, self.shared.clock.now());
    }

    /// Forgets a worker whose instance was stopped or is started again.
    pub fn forget(&self, id: &InstanceId) {
        self.lock().forget(id);
    }

    /// Admits more instances to the fleet.
    pub fn admit(&self, ids: &[InstanceId]) {
        self.lock().admit(ids.iter().cloned());
    }

    /// Admits these instances and no others. Forgets workers of other instances after a while.
    pub fn set_fleet(&self, fleet: HashSet<InstanceId>) {
        self.lock().set_fleet(fleet, self.shared.clock.now());
    }

    /// Counts the workers that reported to be busy after the scaler ordered their instance to stop as idle, once for
    /// each order.
    #[must_use]
    pub fn busy_workers_stopped(&self) -> u64 {
        self.lock().busy_workers_stopped()
    }

    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.shared
            .workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkerSession {
    /// Records a report. Returns `false` when a newer stream of the same worker has replaced this one.
    #[must_use]
    pub fn report(&self, report: &WorkerReport) -> bool {
        let shared = &self.registry.shared;
        let changed = self
            .registry
            .lock()
            .report(&self.id, report, shared.clock.now());
        if changed == Some(true) {
            shared.changed.notify_one();
        }
        changed.is_some()
    }
}

impl Drop for WorkerSession {
    fn drop(&mut self) {
        let shared = &self.registry.shared;
        self.registry.lock().leave(&self.id, shared.clock.now());
        shared.changed.notify_one();
    }
}
