use std::time::{Duration, SystemTime};

use platform::preflight::Verdict;
use prost_types::Timestamp;
use proto::v1::{
    Bounds, CallBackoff, FailedBoots, Instance, InstanceState, Observation, Plan, QueueCounters,
    ScalerStatus,
};

use super::judge;

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn at(seconds_ago: i64) -> Option<Timestamp> {
    let time = SystemTime::UNIX_EPOCH + NOW;
    let shift = Duration::from_secs(seconds_ago.unsigned_abs());
    Some(Timestamp::from(if seconds_ago < 0 {
        time + shift
    } else {
        time - shift
    }))
}

fn instance(id: &str, state: InstanceState) -> Instance {
    Instance {
        instance_id: id.to_owned(),
        name: "app-tier-instance-1".to_owned(),
        state: state.into(),
        heard: at(1),
        running_since: at(5),
        ..Instance::default()
    }
}

/// All is well: two workers, no request.
fn status() -> ScalerStatus {
    ScalerStatus {
        at: at(0),
        bounds: Some(Bounds {
            max_workers: 15,
            ..Bounds::default()
        }),
        observation: Some(Observation {
            unanswered: Some(0),
            queue: Some(QueueCounters::default()),
            described_at: at(1),
            instances: vec![
                instance("i-1", InstanceState::Idle),
                instance("i-2", InstanceState::Busy),
            ],
            ..Observation::default()
        }),
        ..ScalerStatus::default()
    }
}

/// The line of a check.
fn line(status: &ScalerStatus, check: &str) -> String {
    let findings = judge("http://scaler", status);
    let found = findings.iter().find(|it| it.check == check);
    found
        .unwrap_or_else(|| panic!("{check}: {findings:?}"))
        .to_string()
}

#[test]
fn where_all_is_well_each_line_says_so() {
    let findings = judge("http://scaler", &status());
    assert_eq!(findings.len(), 5);
    for finding in findings {
        assert!(matches!(finding.verdict, Verdict::Fine(_)), "{finding}");
    }
}

#[test]
fn each_trouble_has_its_line() {
    type Change = fn(&mut ScalerStatus);
    let cases: [(&str, &str, Change); 11] = [
        (
            "scaler",
            "FAIL  scaler: http://scaler was paused by ada, and 3 requests wait: `scaler resume`",
            |it| {
                it.paused_by = Some("ada".to_owned());
                it.observation.as_mut().unwrap().unanswered = Some(3);
            },
        ),
        (
            "scaler",
            "warn  scaler: http://scaler was paused by ada",
            |it| it.paused_by = Some("ada".to_owned()),
        ),
        (
            "scaler",
            "warn  scaler: http://scaler is on standby: another leads",
            |it| {
                it.standing_by = Some("another leads".to_owned());
            },
        ),
        (
            "scaler",
            "FAIL  scaler: http://scaler may have no workers",
            |it| it.bounds = Some(Bounds::default()),
        ),
        (
            "demand",
            "FAIL  demand: the scaler cannot reach front",
            |it| {
                it.observation.as_mut().unwrap().unanswered = None;
            },
        ),
        (
            "fleet",
            "FAIL  fleet: EC2 has not answered the scaler for 90 s",
            |it| {
                it.observation.as_mut().unwrap().described_at = at(90);
            },
        ),
        (
            "fleet",
            "warn  fleet: calls to EC2 wait for 31 s: the scaler says: the last launch failed",
            |it| {
                it.observation.as_mut().unwrap().held = Some(CallBackoff {
                    launch: at(-30),
                    ..CallBackoff::default()
                });
                it.plan = Some(Plan {
                    reason: "the last launch failed".to_owned(),
                    ..Plan::default()
                });
            },
        ),
        (
            "fleet",
            "warn  fleet: 1 of 2 instances have an old image",
            |it| {
                it.observation.as_mut().unwrap().instances[0].outdated = true;
            },
        ),
        (
            "boots",
            "FAIL  boots: 4 in a row ended without a ready worker; none starts for 61 s",
            |it| {
                let held_until = at(-60);
                it.observation.as_mut().unwrap().failed_boots = Some(FailedBoots {
                    in_a_row: 4,
                    held_until,
                });
            },
        ),
        (
            "workers",
            "FAIL  workers: i-2 (app-tier-instance-1) has not reported for more than 15 s",
            |it| {
                it.observation.as_mut().unwrap().instances[1].heard = at(20);
            },
        ),
        (
            "workers",
            "warn  workers: 0 at work or idle, 0 starting, 0 stopped, and 7 requests wait: the scaler says: over budget",
            |it| {
                let observation = it.observation.as_mut().unwrap();
                (observation.unanswered, observation.instances) = (Some(7), vec![]);
                it.plan = Some(Plan {
                    reason: "over budget".to_owned(),
                    ..Plan::default()
                });
            },
        ),
    ];
    for (check, expected, change) in cases {
        let mut status = status();
        change(&mut status);
        let line = line(&status, check);
        assert!(line.starts_with(expected), "{line}\nexpected {expected}");
    }
}

#[test]
fn a_worker_that_boots_for_long_is_named() {
    let mut status = status();
    let slow = &mut status.observation.as_mut().unwrap().instances[0];
    (slow.state, slow.running_since, slow.heard) = (InstanceState::Booting.into(), at(70), None);
    let line = line(&status, "workers");
    assert!(
        line.starts_with(
            "warn  workers: i-1 (app-tier-instance-1) runs without a worker that reports"
        ),
        "{line}"
    );
}
