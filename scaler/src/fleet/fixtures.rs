//! What EC2 and the workers say, for tests.

use platform::fleet::{FleetInstance, PowerState};
use proto::v1::{WorkerReport, WorkerState};

use crate::plan::InstanceId;

/// An instance as EC2 lists it.
pub fn found(id: &str, name: &str, state: PowerState) -> FleetInstance {
    FleetInstance {
        id: id.to_owned(),
        name: name.to_owned(),
        state,
        launched_at: None,
        age: None,
        instance_type: "c7i.large".to_owned(),
        zone: "us-east-1a".to_owned(),
        spot: false,
        launch: None,
    }
}

/// A worker's first report.
pub fn report(id: &InstanceId, state: WorkerState) -> WorkerReport {
    WorkerReport {
        instance_id: id.to_string(),
        state: state.into(),
        ..WorkerReport::default()
    }
}
