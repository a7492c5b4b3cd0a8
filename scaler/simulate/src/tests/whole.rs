//! Whole simulations.

use scaler_plan::PolicyKind;

use crate::report::figures;
use crate::{Comparison, Outcome, Scenario, Trace, simulate};

fn run(name: &str, scenario: &Scenario) -> Outcome {
    let trace = Trace::named(name, scenario.seed).expect("the trace has a name of the table");
    simulate(scenario, &trace)
}

fn assert_each_answered_once(outcome: &Outcome) {
    assert_eq!(outcome.accepted, outcome.answered);
    assert_eq!(outcome.accepted_sum, outcome.answered_sum);
}

#[test]
fn the_same_seed_gives_the_same_result() {
    for policy in PolicyKind::ALL {
        let scenario = Scenario::default().with_kind(policy);
        let outcome = run("on-off", &scenario);
        assert_eq!(outcome, run("on-off", &scenario), "{policy:?}");
        let other = Scenario {
            seed: 2,
            ..scenario
        };
        assert_ne!(outcome, run("on-off", &other), "{policy:?}");
    }
}

/// The means of these seeds are 0.88 to 1.10.
#[test]
fn the_default_policy_costs_at_most_a_tenth_more_than_foresight() {
    for name in ["step", "ramp", "flash-crowd", "on-off", "heavy-tailed"] {
        let over_use = [1, 2, 3].map(|seed| {
            let scenario = Scenario {
                seed,
                ..Scenario::default()
            };
            let trace = Trace::named(name, seed).expect("the trace has a name of the table");
            let compared = Comparison::new(trace, scenario, &[PolicyKind::Latency], Vec::new());
            figures(&compared, &compared.runs[0]).over_use
        });
        let mean = over_use.iter().sum::<f64>() / 3.0;
        assert!(mean < 1.115, "{name}: {over_use:?}");
    }
}

#[test]
fn all_policies_answer_everything_and_stay_below_the_maximum() {
    for policy in PolicyKind::ALL {
        let scenario = Scenario::default().with_kind(policy);
        for name in ["step", "flash-crowd", "heavy-tailed"] {
            let outcome = run(name, &scenario);
            assert_each_answered_once(&outcome);
            assert!(
                outcome.most_up <= 15,
                "{policy:?} on {name}: {}",
                outcome.most_up
            );
            let work = outcome.accepted as f64 * scenario.service.0;
            assert!(
                outcome.billed_seconds() > work / 2.0,
                "{policy:?} on {name}"
            );
            assert!(
                outcome.billed >= outcome.starts * 60_000_000,
                "{policy:?} on {name}"
            );
        }
    }
}

#[test]
fn workers_that_die_and_boots_that_fail_lose_no_request() {
    let scenario = Scenario {
        failing_boots: 0.2,
        deadly_jobs: 0.002,
        stop: (3.0, 0.2),
        ..Scenario::default()
    };
    for policy in PolicyKind::ALL {
        for name in ["step", "on-off"] {
            let outcome = run(name, &scenario.with_kind(policy));
            assert_each_answered_once(&outcome);
            assert!(
                outcome.latency(1.0) > scenario.visibility_timeout.as_secs_f64(),
                "a request waited for a job to reappear"
            );
        }
    }
}

#[test]
fn throttled_calls_are_made_again() {
    // Few calls are accepted.
    let scenario = Scenario {
        calls: (1.0, 0.05),
        ..Scenario::default()
    };
    let outcome = run("ramp", &scenario.with_kind(PolicyKind::Step));
    assert!(outcome.throttled > 0);
    assert_each_answered_once(&outcome);
}

#[test]
fn a_large_fleet_answers_everything_with_few_plans() {
    let outcome = run("flash-crowd", &Scenario::large_fleet(1));
    assert_each_answered_once(&outcome);
    // One plan in 2 s, through half an hour and what it takes to come to rest.
    assert!(outcome.plans < 1_500, "{}", outcome.plans);
    assert!(outcome.most_up > 100, "{}", outcome.most_up);
}

#[test]
fn a_clip_is_done_under_every_policy_and_delays_photos_by_one_frame_at_most() {
    for policy in PolicyKind::ALL {
        let scenario = Scenario::default().with_kind(policy);
        let alone = run("step", &scenario);
        let with_clip = Scenario {
            clip_frames: 300,
            ..scenario
        };
        let outcome = run("step", &with_clip);
        assert_each_answered_once(&outcome);
        assert_eq!(
            (outcome.frames, outcome.frames_done),
            (300, 300),
            "{policy:?}"
        );
        // A frame takes 0.3 s on average; the times vary.
        let (with, without) = (outcome.latency(0.95), alone.latency(0.95));
        assert!(
            with <= without + 1.0,
            "{policy:?}: {with} instead of {without}"
        );
        assert!(outcome.most_up <= 15, "{policy:?}");
    }
}
