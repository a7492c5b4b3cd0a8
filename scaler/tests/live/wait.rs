//! Waits for the fleet to reach a state.

use platform::fleet::PowerState;
use proto::v1::InstanceState;

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

/// Raises demand to one request, and waits until an instance runs. Returns its id.
pub async fn start_one(stage: &Stage) -> String {
    stage.demand(1);
    until_listed(stage, PowerState::Running, 1).await;
    stage.instances().await[0].id.clone()
}
