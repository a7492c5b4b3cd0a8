//! Whole runs.

use std::time::Duration;

use clap::ValueEnum;

use crate::plan::PolicyKind;
use crate::simulate::outcome::Outcome;
use crate::simulate::settings::Settings;
use crate::simulate::traces::Trace;
use crate::simulate::{simulate, with_kind};

fn run(name: &str, settings: &Settings) -> Outcome {
    let trace = Trace::named(name, settings.seed).expect("the trace has a name of the table");
    simulate(settings, &trace)
}

fn assert_each_answered_once(outcome: &Outcome) {
    assert_eq!(outcome.accepted, outcome.answered);
    assert_eq!(outcome.accepted_sum, outcome.answered_sum);
}

#[test]
fn the_same_seed_gives_the_same_result() {
    for policy in PolicyKind::value_variants() {
        let settings = with_kind(&Settings::default(), *policy);
        let outcome = run("on-off", &settings);
        assert_eq!(outcome, run("on-off", &settings), "{policy:?}");
        let other = Settings {
            seed: 2,
            ..settings
        };
        assert_ne!(outcome, run("on-off", &other), "{policy:?}");
    }
}

#[test]
fn all_policies_answer_everything_and_stay_below_the_maximum() {
    for policy in PolicyKind::value_variants() {
        let settings = with_kind(&Settings::default(), *policy);
        for name in ["step", "flash-crowd", "heavy-tailed"] {
            let outcome = run(name, &settings);
            assert_each_answered_once(&outcome);
            assert!(
                outcome.most_up <= 15,
                "{policy:?} on {name}: {}",
                outcome.most_up
            );
            let work = outcome.accepted as f64 * settings.service.0;
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
    let settings = Settings {
        failing_boots: 0.2,
        deadly_jobs: 0.002,
        stop: Duration::from_secs(3),
        ..Settings::default()
    };
    for policy in PolicyKind::value_variants() {
        for name in ["step", "on-off"] {
            let outcome = run(name, &with_kind(&settings, *policy));
            assert_each_answered_once(&outcome);
            assert!(
                outcome.latency(1.0) > 10.0,
                "somebody waited for a job to reappear"
            );
        }
    }
}

#[test]
fn throttled_calls_are_made_again() {
    // Hardly a call is let through.
    let settings = Settings {
        calls: (1.0, 0.05),
        ..Settings::default()
    };
    let outcome = run("ramp", &settings);
    assert!(outcome.throttled > 0);
    assert_each_answered_once(&outcome);
}
