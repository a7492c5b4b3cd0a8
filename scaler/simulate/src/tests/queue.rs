//! The queue and the workers, against results worked out by hand.

use std::time::Duration;

use scaler_plan::{Bounds, Policy, PolicyKind};

use crate::Scenario;
use crate::simulation::run;

/// Nothing varies.
fn exact() -> Scenario {
    Scenario {
        policy: Policy {
            kind: PolicyKind::Step,
            bounds: Bounds {
                max_workers: 1,
                ..Bounds::default()
            },
            ..Policy::default()
        },
        service: (1.0, 0.0),
        boot: (20.0, 0.0),
        pool: 1,
        ..Scenario::default()
    }
}

fn assert_near(found: f64, expected: f64) {
    let error = (found - expected).abs() / expected;
    assert!(error < 0.005, "{found} instead of {expected}");
}

#[test]
fn requests_that_come_together_wait_for_the_boot_and_for_each_other() {
    let scenario = exact();
    let outcome = run(&scenario, [10_000_000; 4].into_iter(), 60_000_000);
    // The plan is made 20 ms after the arrival, the worker is ready 20 s later, and serves one a second.
    assert_eq!((outcome.accepted, outcome.answered), (4, 4));
    for (rank, latency) in [(0.25, 21.02), (0.5, 22.02), (0.75, 23.02), (1.0, 24.02)] {
        assert_near(outcome.latency(rank), latency);
    }
    assert_eq!(outcome.starts, 1);
    // It was up for less than a minute, and a minute is billed.
    assert_eq!(outcome.billed, 60_000_000);
}

#[test]
fn two_workers_share_the_queue() {
    let mut scenario = exact();
    scenario.policy.bounds.max_workers = 2;
    scenario.pool = 2;
    let outcome = run(&scenario, [10_000_000; 4].into_iter(), 60_000_000);
    for (rank, latency) in [(0.5, 21.02), (1.0, 22.02)] {
        assert_near(outcome.latency(rank), latency);
    }
    assert_eq!((outcome.starts, outcome.billed), (2, 120_000_000));
}

#[test]
fn an_instance_that_does_not_exist_is_launched() {
    let mut scenario = exact();
    (scenario.pool, scenario.launch) = (0, Duration::from_millis(500));
    let outcome = run(&scenario, [10_000_000].into_iter(), 60_000_000);
    assert_near(outcome.latency(1.0), 21.52);
    assert_eq!(outcome.starts, 1);
}
