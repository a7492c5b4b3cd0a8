use std::sync::Arc;

use super::*;
use crate::histories::scaled_cloud::{ScaledCloud, Step};
use crate::plan::{Bounds, PolicyKind, Prices, Targets, Window};
use crate::rpc::wire;

/// A history of the simulated cloud as `scaler watch --every --json` records it, from the decision `joined` on.
fn recording(kind: PolicyKind, joined: u64) -> Vec<String> {
    let policy = Policy {
        kind,
        ..Policy::default()
    };
    let mut cloud = ScaledCloud::new(policy.clone(), 7);
    let mut lines = Vec::new();
    for sequence in 1..=2_000 {
        match sequence {
            100 | 900 => cloud.arrive(30),
            500 => cloud.cloud.faults.front_is_lost = true,
            600 => cloud.cloud.faults.front_is_lost = false,
            _ => {}
        }
        let Step {
            observation,
            plan,
            before,
        } = cloud.step();
        if sequence >= joined {
            let decided = Decision {
                sequence,
                active: policy.clone().into(),
                observation,
                plan,
                before: Some(Arc::new(before)),
                ..Decision::default()
            };
            let status = wire::record(&decided, sequence == joined);
            lines.push(proto::encode(&status));
        }
    }
    lines
}

fn replay(lines: &[String], adapt: impl Fn(&mut Policy)) -> (Vec<Replayed>, Summary) {
    let mut replay = Replay::default();
    let all: Vec<_> = lines
        .iter()
        .filter_map(|line| replay.next(&proto::decode(line).unwrap(), &adapt).unwrap())
        .collect();
    (all, replay.summary())
}

#[test]
fn a_replay_with_the_recorded_policy_shows_no_difference_from_any_beginning() {
    for kind in [PolicyKind::Step, PolicyKind::Latency] {
        for joined in [1, 150, 550, 1_000] {
            let (all, summary) = replay(&recording(kind, joined), |_| {});
            let different = all.iter().find(|it| it.differs());
            assert_eq!(different, None, "joined at {joined}");
            assert_eq!(
                (summary.different, summary.gaps),
                (0, 0),
                "joined at {joined}"
            );
            assert_eq!(summary.decisions, 2_001 - joined);
            assert!(summary.recorded_most > 0 && summary.recorded_seconds > 0.0);
        }
    }
}

#[test]
fn another_policy_shows_where_it_would_have_decided_differently() {
    let lines = recording(PolicyKind::Step, 1);
    let (all, summary) = replay(&lines, |policy| policy.bounds.max_workers = 2);
    assert!(summary.different > 0 && summary.replayed_most == 2);
    assert!(summary.replayed_seconds < summary.recorded_seconds);
    let first = all.iter().find(|it| it.differs()).unwrap();
    assert_eq!((first.recorded.launch, first.replayed.launch), (15, 2));
}

#[test]
fn missing_decisions_are_counted_as_gaps() {
    let mut lines = recording(PolicyKind::Step, 1);
    lines.drain(50..60);
    assert_eq!(replay(&lines, |_| {}).1.gaps, 1);
}

/// A scaler that stands by, leads, stands by again and leads again, with every option set.
fn recording_with_standby(kind: PolicyKind) -> Vec<String> {
    let seconds = Duration::from_secs;
    let policy = Policy {
        kind,
        bounds: Bounds {
            min_workers: 1,
            max_workers: 9,
            budget_per_hour: Some(0.8),
            warm_pool: 2,
            scale_out_cooldown: seconds(3),
            scale_in_cooldown: seconds(5),
        },
        targets: Targets {
            latency: seconds(4),
            service_time: Duration::from_millis(321),
            boot_time: seconds(7),
        },
        prices: Prices {
            per_hour: 0.1,
            minimum: seconds(30),
        },
        schedule: vec![Window {
            from: seconds(0),
            to: seconds(60),
            min_workers: 3,
        }],
        ..Policy::default()
    };
    let mut cloud = ScaledCloud::new(policy.clone(), 11);
    let mut memory = Memory::default();
    let mut lines = Vec::new();
    for sequence in 1..=1_500 {
        if matches!(sequence, 40 | 700 | 1_100) {
            cloud.arrive(25);
        }
        let observation = cloud.step().observation;
        let standing_by =
            matches!(sequence, 1..20 | 800..900).then(|| "10.0.0.9:50052 leads".to_owned());
        let before = memory.clone();
        let why = standing_by.as_deref();
        let planned = decide(&policy, &observation, why, &mut memory);
        let decided = Decision {
            sequence,
            active: policy.clone().into(),
            observation,
            plan: planned,
            before: Some(Arc::new(before)),
            standing_by,
            ..Decision::default()
        };
        lines.push(proto::encode(&wire::record(&decided, sequence == 1)));
    }
    lines
}

#[test]
fn a_recording_of_a_scaler_that_stood_by_shows_no_difference_under_any_policy() {
    for kind in PolicyKind::ALL {
        let lines = recording_with_standby(kind);
        let (all, summary) = replay(&lines, |_| {});
        let different = all.iter().find(|it| it.differs());
        assert_eq!(different, None, "{kind:?}");
        assert_eq!((summary.decisions, summary.gaps), (1_500, 0), "{kind:?}");
        // The leader's decisions are unknown, so another policy changes nothing while the scaler stands by.
        let (all, _) = replay(&lines, |policy| policy.bounds.min_workers = 8);
        assert!(!all[0].differs() && all[30].differs(), "{kind:?}");
    }
}

#[test]
fn a_status_without_a_recording_is_refused() {
    let decided = Decision {
        sequence: 1,
        before: Some(Arc::default()),
        ..Decision::default()
    };
    let mut replay = Replay::default();
    assert!(replay.next(&wire::record(&decided, true), |_| {}).is_ok());
    for memory in ["", "{", "{}"] {
        let mut status = wire::encode(&decided);
        status.memory = memory.to_owned();
        let error = replay.next(&status, |_| {}).unwrap_err().to_string();
        assert!(error.contains("scaler watch --every --json"), "{error}");
    }
}

#[test]
fn a_damaged_memory_is_an_error_of_its_line() {
    let first = &recording(PolicyKind::Latency, 1)[0];
    let mut status: ScalerStatus = proto::decode(first).unwrap();
    let mut damaged: serde_json::Value = serde_json::from_str(&status.memory).unwrap();
    damaged["memory"]["keeping"]["given_up"] = 9.into();
    status.memory = damaged.to_string();
    let error = Replay::default().next(&status, |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "its memory is damaged");
}
