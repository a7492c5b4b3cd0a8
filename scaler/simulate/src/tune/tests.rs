use std::time::Duration;

use scaler_plan::{KeepIdle, PolicyKind};

use super::*;

const BOTH: [PolicyKind; 2] = [PolicyKind::Latency, PolicyKind::Step];

/// Tunes on the first 25 minutes of a trace.
fn tuned(name: &str, seed: u64) -> Tuned {
    let trace = Trace::named(name, seed).unwrap();
    let share = 1_500.0 / trace.length;
    let [trace, _] = trace.split(seed, share);
    let scenario = Scenario {
        seed,
        ..Scenario::default()
    };
    tune(&trace, &scenario, &BOTH).unwrap()
}

#[test]
fn the_choice_is_never_worse_than_the_defaults_where_it_was_made() {
    for (name, seed) in [("on-off", 2), ("heavy-tailed", 1), ("heavy-tailed", 2)] {
        let tuned = tuned(name, seed);
        let (choice, defaults) = (tuned.choice.chosen_on, tuned.defaults.chosen_on);
        assert!(choice.p95 <= defaults.p95, "{name} {seed}: {tuned:?}");
        assert!(choice.cost <= defaults.cost, "{name} {seed}: {tuned:?}");
    }
}

#[test]
fn in_pauses_longer_than_a_start_costs_no_worker_is_kept() {
    let tuned = tuned("on-off", 1);
    let choice = tuned.choice.setting;
    let stops_at_once = choice.keep_idle == KeepIdle::AtMost(Duration::ZERO);
    assert!(
        stops_at_once || choice.kind == PolicyKind::Step,
        "{choice:?}"
    );
    assert_eq!(choice.min_workers, 0);
    assert!(tuned.holds(), "{tuned:?}");
    assert!(tuned.choice.rest.cost < tuned.defaults.rest.cost);
    assert_eq!(tuned.advice(), &choice);
}

#[test]
fn the_same_seed_gives_the_same_choice() {
    let (first, again) = (tuned("heavy-tailed", 1), tuned("heavy-tailed", 1));
    assert_eq!(first.json(), again.json());
}

#[test]
fn no_alternative_is_better_in_both_latency_and_cost() {
    let tuned = tuned("heavy-tailed", 3);
    assert!(!tuned.alternatives.is_empty());
    for pair in tuned.alternatives.windows(2) {
        let (cheap, fast) = (pair[0].chosen_on, pair[1].chosen_on);
        assert!(cheap.cost <= fast.cost && cheap.p95 > fast.p95, "{pair:?}");
    }
}

fn figures(p95: f64, cost: f64) -> Figures {
    Figures {
        p50: 1.0,
        p95,
        cost,
        over_use: 1.0,
    }
}

/// A tuning that found nothing better than the defaults.
fn unchanged(scenario: Scenario) -> Tuned {
    let defaults = Tried {
        setting: Setting::of(&scenario.policy),
        chosen_on: figures(2.0, 1.0),
        rest: figures(2.0, 1.0),
    };
    Tuned {
        trace: "t".to_owned(),
        lengths: [60.0, 40.0],
        scenario,
        compared: 2,
        choice: defaults.clone(),
        defaults,
        alternatives: Vec::new(),
    }
}

#[test]
fn the_advised_command_has_the_given_keep_idle() {
    let mut scenario = Scenario::default();
    scenario.policy.timeouts.keep_idle = KeepIdle::AtMost(Duration::ZERO);
    let tuned = unchanged(scenario);
    let command = "scaler --policy latency --keep-idle 0s --latency-target 2s";
    let text = table::table(&tuned);
    assert!(text.contains(command), "{text}");
    assert_eq!(tuned.json()["use"], "--policy latency --keep-idle 0s");
}

#[test]
fn a_choice_that_does_worse_on_the_rest_is_not_advised() {
    let mut tuned = unchanged(Scenario::default());
    let setting = tuned.defaults.setting;
    tuned.choice = Tried {
        setting: Setting {
            min_workers: 1,
            ..setting
        },
        chosen_on: figures(1.0, 0.5),
        rest: figures(1.0, 0.9),
    };
    let uses = "scaler --policy latency --min-workers 1 --latency-target 2s --max-workers 15";
    assert!(
        table::table(&tuned).contains(uses),
        "{}",
        table::table(&tuned)
    );
    for worse in [figures(1.0, 1.1), figures(2.1, 0.5)] {
        tuned.choice.rest = worse;
        assert_eq!(*tuned.advice(), setting);
        let text = table::table(&tuned);
        assert!(text.contains("keep the defaults"), "{text}");
        assert!(
            text.contains("scaler --policy latency --latency-target"),
            "{text}"
        );
    }
}

#[test]
fn a_trace_without_enough_arrivals_is_refused() {
    let trace = Trace::given("short", (0..30).map(|at| at * 1_000_000).collect(), 30.0, 1);
    let error = tune(&trace, &Scenario::default(), &BOTH).unwrap_err();
    assert!(error.to_string().contains("too short"), "{error}");
}
