use scaler_plan::{PolicyKind, Window};

use crate::optimum::{Optimum, Task, optimum};
use crate::{Outcome, Scenario, Trace, simulate};

/// One policy on one trace.
#[derive(Debug)]
pub struct Run {
    pub policy: PolicyKind,
    pub outcome: Outcome,
}

/// Several policies on one trace.
#[derive(Debug)]
pub struct Comparison {
    pub trace: Trace,
    pub scenario: Scenario,
    /// The schedule of the policy `schedule`.
    pub schedule: Vec<Window>,
    pub(crate) optimum: Optimum,
    pub(crate) runs: Vec<Run>,
}

impl Comparison {
    /// Simulates each of `kinds` in `scenario`, the policy `schedule` with a schedule of its own.
    #[must_use]
    pub fn new(
        trace: Trace,
        scenario: Scenario,
        kinds: &[PolicyKind],
        schedule: Vec<Window>,
    ) -> Self {
        let run = |&policy: &PolicyKind| {
            let mut scenario = scenario.with_kind(policy);
            if policy == PolicyKind::Schedule {
                scenario.policy.schedule.clone_from(&schedule);
            }
            let outcome = simulate(&scenario, &trace);
            Run { policy, outcome }
        };
        let runs = kinds.iter().map(run).collect();
        let arrivals: Vec<_> = trace.arrivals(scenario.seed).collect();
        Self {
            optimum: optimum(&arrivals, Task::of(&scenario)),
            trace,
            scenario,
            schedule,
            runs,
        }
    }
}
