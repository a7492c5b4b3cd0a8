use clap::{CommandFactory, Parser};

use super::*;
use crate::plan::Bounds;

#[derive(Debug, Parser)]
struct Scaler {
    #[command(flatten)]
    policy: PolicyArgs,
}

fn policy(line: &str) -> anyhow::Result<Policy> {
    let words = std::iter::once("scaler").chain(line.split_whitespace());
    Scaler::try_parse_from(words)?.policy.policy(None)
}

#[test]
fn the_command_line_has_the_defaults_of_the_policy() {
    assert_eq!(policy("").unwrap(), Policy::default());
}

#[test]
fn every_flag_sets_its_part_of_the_policy() {
    let policy = policy(
        "--policy kpa --min-workers 1 --max-workers 9 --schedule 08:00-18:00=5,22:00-02:00=2 --warm-pool 3 \
         --scale-out-cooldown 4s --scale-in-cooldown 5s --latency-target 3s --service-time 250ms --boot-time 30s \
         --price-per-hour 0.1 --billing-minimum 2m --budget 0.9 --idle-time 6s --settle 7s --keep-idle 8s",
    )
    .unwrap();
    assert_eq!(policy.kind, PolicyKind::Kpa);
    assert_eq!(
        policy.timeouts,
        Timeouts {
            idle_time: Duration::from_secs(6),
            settle: Duration::from_secs(7),
            keep_idle: KeepIdle::AtMost(Duration::from_secs(8)),
            ..Timeouts::default()
        }
    );
    assert_eq!(
        policy.bounds,
        Bounds {
            min_workers: 1,
            max_workers: 9,
            budget_per_hour: Some(0.9),
            warm_pool: 3,
            scale_out_cooldown: Duration::from_secs(4),
            scale_in_cooldown: Duration::from_secs(5),
        }
    );
    assert_eq!(
        policy.targets,
        Targets {
            latency: Duration::from_secs(3),
            service_time: Duration::from_millis(250),
            boot_time: Duration::from_secs(30),
        }
    );
    assert_eq!(
        policy.prices,
        Prices {
            per_hour: 0.1,
            minimum: Duration::from_secs(120),
        }
    );
    let scheduled: Vec<_> = policy.schedule.iter().map(|it| it.min_workers).collect();
    assert_eq!(scheduled, [5, 2]);
}

#[test]
fn bounds_that_contradict_each_other_are_refused() {
    for (line, complaint) in [
        (
            "--min-workers 3 --max-workers 2",
            "--min-workers 3 exceeds --max-workers 2",
        ),
        (
            "--schedule 08:00-18:00=20",
            "--schedule asks for 20 workers",
        ),
        (
            "--min-workers 3 --price-per-hour 0.1 --budget 0.25",
            "a minimum of 3 workers costs 0.3000 dollars",
        ),
        ("--schedule 08:00=5", "not a period"),
        ("--latency-target 0s", "give more than 0 seconds"),
        ("--keep-idle never", "units such as 500ms, or auto"),
    ] {
        let error = policy(line).unwrap_err().to_string();
        assert!(error.contains(complaint), "{line}: {error}");
    }
}

#[test]
fn a_budget_below_one_worker_is_refused() {
    let refused = policy("--budget 0.05").unwrap_err().to_string();
    let complaint = "--budget 0.05 pays for no worker, since one costs 0.08925 dollars";
    assert!(refused.contains(complaint), "{refused}");
    assert!(policy("--budget 0.05 --max-workers 0").is_ok());
    assert!(policy("--budget 0.08925").is_ok());
}

#[test]
fn the_help_says_what_each_policy_does() {
    let help = Scaler::command().render_long_help().to_string();
    for kind in PolicyKind::ALL {
        let line = format!("- {}:", kind.name());
        let found = help.lines().find_map(|it| it.trim().strip_prefix(&line));
        assert!(found.is_some_and(|about| about.len() > 10), "{line}");
    }
}
