use super::*;
use crate::plan::PolicyKind;
use crate::plan::tests::simulated::{Cloud, Step};
use crate::wire::tests::decision;

/// A history of the modelled cloud as `scaler watch --every --json` would record it, from the decision `joined` on.
fn recording(kind: PolicyKind, joined: u64) -> Vec<String> {
    let policy = Policy {
        kind,
        ..Policy::default()
    };
    let mut cloud = Cloud::new(policy.clone(), 7);
    let mut lines = Vec::new();
    for sequence in 1..=2_000 {
        match sequence {
            100 | 900 => cloud.arrive(30),
            500 => cloud.front_is_lost = true,
            600 => cloud.front_is_lost = false,
            _ => {}
        }
        let Step {
            observation,
            plan,
            before,
        } = cloud.step();
        if sequence >= joined {
            let decided = decision(sequence, &policy, &observation, &plan, &before);
            let status = wire::encode(&decided, sequence == joined);
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
fn a_recording_replayed_with_its_own_policy_shows_no_difference_wherever_it_begins() {
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
fn another_policy_shows_where_it_would_have_decided_otherwise() {
    let lines = recording(PolicyKind::Step, 1);
    let (all, summary) = replay(&lines, |policy| policy.bounds.max_workers = 2);
    assert!(summary.different > 0 && summary.replayed_most == 2);
    assert!(summary.replayed_seconds < summary.recorded_seconds);
    let first = all.iter().find(|it| it.differs()).unwrap();
    assert_eq!((first.recorded.launch, first.replayed.launch), (15, 2));
}

#[test]
fn decisions_that_are_missing_are_said_to_be() {
    let mut lines = recording(PolicyKind::Step, 1);
    lines.drain(50..60);
    assert_eq!(replay(&lines, |_| {}).1.gaps, 1);
}
