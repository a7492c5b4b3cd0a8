mod boots;
mod orders;
mod workers;

use proto::names::worker_instance;
use proto::v1::{WorkerReport, WorkerState};

use super::*;
use crate::clock::Clock;
use crate::fleet::fixtures::{found, report};
use crate::fleet::worker_registry::WorkerSession;

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::after_epoch(Duration::from_millis(milliseconds))
}

fn view() -> FleetView {
    view_of(&WorkerRegistry::new(Clock::start()))
}

fn view_of(registry: &WorkerRegistry) -> FleetView {
    FleetView::new(watch::channel(None).1, registry.clone(), Ledger::default())
}

fn states(view: &mut FleetView, now: Timestamp) -> Vec<(Option<u32>, InstanceState)> {
    let observation = view.observe(now, CallBackoff::default());
    observation
        .instances
        .iter()
        .map(|it| (it.number, it.state))
        .collect()
}

/// Opens a worker's stream with a first report.
fn attend(registry: &WorkerRegistry, id: &InstanceId, state: WorkerState) -> WorkerSession {
    let session = registry.join(id, watch::channel(None).0).unwrap();
    assert!(session.report(&report(id, state)));
    session
}
