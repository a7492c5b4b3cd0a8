//! Waits for the fleet to reach a state.

use std::time::Duration;

use platform::fleet::PowerState;
use proto::names::worker_instance;
use proto::v1::{InstanceState, Totals};
use tokio::time::Instant;

use crate::stage::{Stage, eventually};

/// Waits until EC2 lists `count` instances in a state.
pub async fn until_listed(stage: &Stage, state: PowerState, count: usize) {
    let what = format!("{count} are {state:?}");
    eventually(&what, async || stage.count(state).await == count).await;
}

/// Waits until the scaler sees `count` instances in a state.
pub async fn until_seen(stage: &Stage, state: InstanceState, count: usize) {
    let what = format!("the scaler sees {count} {}", state.as_str_name());
    eventually(&what, async || stage.seen(state).await == count).await;
}

/// Waits until EC2 lists `count` instances, with the names of the first workers.
pub async fn until_named(stage: &Stage, count: u32) {
    let names: Vec<_> = (1..=count).map(worker_instance).collect();
    eventually("they are named", async || {
        let instances = stage.instances().await;
        instances.iter().map(|it| &it.name).eq(&names)
    })
    .await;
}

/// Raises demand, and checks that the first start call follows at once.
pub async fn starts_at_once(stage: &Stage, raise_demand: impl FnOnce()) {
    let demanded = Instant::now();
    raise_demand();
    eventually("they are started", async || {
        stage.calls("StartInstances").await == 1
    })
    .await;
    let took = demanded.elapsed();
    assert!(took < Duration::from_millis(250), "{took:?}");
}

/// Ends demand, and checks that all workers are stopped soon, after they were launched once and none while it had work.
pub async fn all_stop(stage: &Stage, workers: usize, end_demand: impl FnOnce()) -> Totals {
    let ended = Instant::now();
    end_demand();
    until_listed(stage, PowerState::Stopped, workers).await;
    // These workers confirm at once. A real worker takes up to a second to return from its receive call.
    let took = ended.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let totals = stage.totals().await;
    assert_eq!((totals.launched, totals.started), (workers as u64, 0));
    assert_eq!(
        (totals.busy_workers_stopped, totals.silent_workers_stopped),
        (0, 0)
    );
    totals
}

/// Raises demand to one request, and waits until an instance runs. Returns its id.
pub async fn start_one(stage: &Stage) -> String {
    stage.demand(1);
    until_listed(stage, PowerState::Running, 1).await;
    stage.instances().await[0].id.clone()
}
