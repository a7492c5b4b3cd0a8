//! Whole runs.

use std::time::Duration;

use clap::Parser;

use crate::plan::PolicyKind;
use crate::simulate::outcome::Outcome;
use crate::simulate::settings::Settings;
use crate::simulate::traces::Trace;
use crate::simulate::{SimulateArgs, large_fleet, simulate, with_kind};

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
    for policy in &PolicyKind::ALL {
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
    for policy in &PolicyKind::ALL {
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
    for policy in &PolicyKind::ALL {
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
    let outcome = run("ramp", &with_kind(&settings, PolicyKind::Step));
    assert!(outcome.throttled > 0);
    assert_each_answered_once(&outcome);
}

#[test]
fn a_large_fleet_answers_everything_with_few_plans() {
    let outcome = run("flash-crowd", &large_fleet(1));
    assert_each_answered_once(&outcome);
    // One plan in 2 s, through half an hour and what it takes to come to rest.
    assert!(outcome.plans < 1_500, "{}", outcome.plans);
    assert!(outcome.most_up > 100, "{}", outcome.most_up);
}

#[derive(clap::Parser)]
struct CommandLine {
    #[command(flatten)]
    simulate: SimulateArgs,
}

fn command(arguments: &[&str]) -> anyhow::Result<String> {
    let arguments = ["simulate"].iter().chain(arguments);
    let mut output = Vec::new();
    CommandLine::try_parse_from(arguments)?
        .simulate
        .run(&mut output)?;
    Ok(String::from_utf8(output)?)
}

#[test]
fn the_command_prints_a_table_and_writes_figures_and_charts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, trace) = (at("out/figures.json"), at("mine.csv"));
    std::fs::write(&trace, "seconds\n0\n0.5\n30\n").unwrap();
    let printed = command(&[
        "--trace",
        "step",
        "--trace",
        &trace,
        "--json",
        &json,
        "--svg",
        &at("charts"),
    ])
    .unwrap();
    assert!(printed.contains("step: 100 requests"), "{printed}");
    assert!(printed.contains("mine: 3 requests"), "{printed}");
    assert!(printed.contains("latency is "), "{printed}");
    let figures: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    for policy in &PolicyKind::ALL {
        let figures = &figures["traces"]["step"][policy.name()];
        for name in [
            "p50_s",
            "p95_s",
            "p99_s",
            "cost",
            "starts",
            "reversals_per_step",
            "over_use",
        ] {
            assert!(figures[name].is_number(), "{name}: {figures}");
        }
    }
    let chart = std::fs::read_to_string(at("charts/mine.svg")).unwrap();
    assert!(chart.starts_with("<svg") && chart.ends_with("</svg>\n"));
    assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
}

#[test]
fn what_cannot_be_simulated_is_said() {
    let error = |arguments: &[&str]| command(arguments).unwrap_err().to_string();
    assert!(error(&["--trace", "nowhere"]).contains("there is no trace nowhere"));
    assert!(error(&["--latency-target", "0s"]).contains("--latency-target"));
    assert!(error(&["--max-workers", "0"]).contains("--max-workers"));
    assert!(error(&["--failing-boots", "1"]).contains("--failing-boots"));
    assert!(error(&["--deadly-jobs=-1"]).contains("--deadly-jobs"));
    let too_many = error(&["--max-workers", "4", "--schedule", "00:00-24:00=5"]);
    assert!(too_many.contains("asks for 5 workers"), "{too_many}");
}

#[test]
fn the_policy_schedule_has_a_schedule_and_the_table_says_which() {
    let step = ["--trace", "step", "--policy", "schedule"];
    let printed = command(&step).unwrap();
    let told = "schedule is told 00:00-24:00=8";
    assert!(printed.contains(told), "{printed}");
    // Of all ready workers one is used without it.
    let most_up = |printed: &str| {
        let row = printed.lines().find(|it| it.starts_with("  schedule  "));
        row.unwrap().split_whitespace().nth(6).unwrap().to_owned()
    };
    assert_eq!(most_up(&printed), "8", "{printed}");
    let other = [&step[..], &["--schedule", "00:00-00:30=3,22:00-02:00=2"]].concat();
    let printed = command(&other).unwrap();
    let told = "schedule is told 00:00-00:30=3,22:00-02:00=2";
    assert!(printed.contains(told), "{printed}");
    assert_eq!(most_up(&printed), "3", "{printed}");
}

#[test]
fn failures_can_be_asked_for() {
    let arguments = ["--trace", "step", "--policy", "latency"];
    let plain = command(&arguments).unwrap();
    assert!(!plain.contains("of boots"), "{plain}");
    let failing = [
        &arguments[..],
        &["--failing-boots=0.2", "--deadly-jobs=0.05"],
    ]
    .concat();
    let failing = command(&failing).unwrap();
    let told = "of boots 0.2 fail, with 0.05 of jobs their worker dies";
    assert!(failing.contains(told), "{failing}");
    let row = |printed: &str| {
        let row = printed.lines().find(|it| it.starts_with("  latency  "));
        row.unwrap().to_owned()
    };
    assert_ne!(row(&plain), row(&failing));
}
