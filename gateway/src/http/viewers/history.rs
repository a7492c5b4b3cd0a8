//! The event `history`: the scaler's last decisions, shortened to what a timeline shows.

use proto::v1::{Alternative, InstanceState, Plan, QueueCounters, ScalerStatus};
use serde::Serialize;

/// The most decisions that wait for a viewer who does not read.
const MOST_POINTS: usize = 1_000;

/// Decisions, oldest first.
#[derive(Debug, Default, Serialize)]
pub struct History {
    points: Vec<Point>,
}

impl History {
    /// Adds a decision, and drops the oldest one of too many.
    pub fn add(&mut self, decision: ScalerStatus) {
        if self.points.len() >= MOST_POINTS {
            self.points.remove(0);
        }
        self.points.push(decision.into());
    }
}

/// Returns whether a decision belongs into a history.
pub fn belongs(decision: &ScalerStatus) -> bool {
    decision.plan.as_ref().is_some_and(changes_something)
}

#[derive(Debug, PartialEq, Serialize)]
struct Point {
    /// In RFC 3339.
    at: String,
    /// `None` while front cannot be reached.
    unanswered: Option<u64>,
    /// Messages in the request queue that wait for a worker.
    queue: u64,
    wanted: u32,
    /// Workers that have started, idle or not.
    running: u32,
    /// Workers that are being launched or started.
    booting: u32,
    policy: String,
    reason: String,
    rejected: Vec<Rejected>,
    /// Whether the plan changes something.
    changed: bool,
}

#[derive(Debug, PartialEq, Serialize)]
struct Rejected {
    workers: u32,
    reason: String,
}

impl From<Vec<ScalerStatus>> for History {
    fn from(decisions: Vec<ScalerStatus>) -> Self {
        Self {
            points: decisions.into_iter().map(Point::from).collect(),
        }
    }
}

impl From<ScalerStatus> for Point {
    fn from(decision: ScalerStatus) -> Self {
        let observation = decision.observation.unwrap_or_default();
        let plan = decision.plan.unwrap_or_default();
        let count = |states: &[InstanceState]| {
            let instances = observation.instances.iter();
            let counted = instances.filter(|instance| states.contains(&instance.state()));
            counted.count() as u32
        };
        let starting = count(&[InstanceState::Pending, InstanceState::Booting]);
        let QueueCounters {
            visible, delayed, ..
        } = observation.queue.unwrap_or_default();
        Self {
            at: decision.at.unwrap_or_default().to_string(),
            unanswered: observation.unanswered,
            queue: visible + delayed,
            wanted: plan.desired_workers,
            running: count(&[
                InstanceState::Idle,
                InstanceState::Busy,
                InstanceState::Draining,
                InstanceState::Cordoned,
            ]),
            booting: starting + observation.launching,
            changed: changes_something(&plan),
            policy: plan.policy,
            reason: plan.reason,
            rejected: plan.rejected.into_iter().map(Rejected::from).collect(),
        }
    }
}

impl From<Alternative> for Rejected {
    fn from(Alternative { workers, reason }: Alternative) -> Self {
        Self { workers, reason }
    }
}

fn changes_something(plan: &Plan) -> bool {
    plan.launch > 0
        || [&plan.start, &plan.cordon, &plan.uncordon, &plan.stop]
            .iter()
            .any(|instances| !instances.is_empty())
}

#[cfg(test)]
mod tests {
    use proto::v1::{Instance, Observation};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_decision_becomes_a_point() {
        use InstanceState::{Booting, Busy, Cordoned, Draining, Idle, Pending, Stopped, Stopping};
        let states = [
            Stopped, Pending, Booting, Idle, Busy, Draining, Cordoned, Stopping,
        ];
        let instances = states.map(|state| Instance {
            state: state.into(),
            ..Instance::default()
        });
        let decision = ScalerStatus {
            at: Some(prost_types::Timestamp {
                seconds: 1_800_000_000,
                nanos: 250_000_000,
            }),
            observation: Some(Observation {
                unanswered: Some(7),
                queue: Some(QueueCounters {
                    visible: 3,
                    in_flight: 9,
                    delayed: 2,
                    ..QueueCounters::default()
                }),
                instances: instances.to_vec(),
                launching: 2,
                ..Observation::default()
            }),
            plan: Some(Plan {
                policy: "step".to_owned(),
                desired_workers: 5,
                stop: vec!["i-1".to_owned()],
                reason: "because".to_owned(),
                rejected: vec![Alternative {
                    workers: 6,
                    reason: "would idle".to_owned(),
                }],
                ..Plan::default()
            }),
            ..ScalerStatus::default()
        };
        let history = History::from(vec![decision, ScalerStatus::default()]);
        let points = serde_json::to_value(&history).unwrap();
        let expected = json!({
            "at": "2027-01-15T08:00:00.250Z", "unanswered": 7, "queue": 5, "wanted": 5, "running": 4, "booting": 4,
            "policy": "step", "reason": "because", "rejected": [{"workers": 6, "reason": "would idle"}], "changed": true,
        });
        assert_eq!(points["points"][0], expected);
        assert_eq!(points["points"][1]["unanswered"], json!(null));
        assert_eq!(points["points"][1]["changed"], false);
    }
}
