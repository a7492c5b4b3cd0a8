//! Frames of clips are demand of lower priority.

use std::time::Duration;

use crate::fixtures::{Fleet, NOW, ids};
use crate::{Bounds, InstanceState, Memory, PolicyKind, Smoothed, Timestamp, Video, plan};

/// Frames of half a second each are assumed; a worker does 120 within the target.
fn fleet() -> Fleet {
    Fleet::none().bounded(0, 15)
}

#[test]
fn frames_start_as_many_workers_as_finish_them_within_the_target() {
    for (frames, workers) in [(1, 1), (120, 1), (121, 2), (600, 5)] {
        let plan = fleet().with_frames(frames).plan();
        assert_eq!(
            (plan.desired_workers, plan.launch),
            (workers, workers),
            "{plan:?}"
        );
    }
    let plan = fleet().with_frames(600).plan();
    assert!(
        plan.reason
            .contains("no requests pending; waiting in case load returns, and 600 frames of clips"),
        "{plan:?}"
    );
}

#[test]
fn frames_alone_start_no_more_workers_than_their_bound() {
    let plan = fleet().with_frames(100_000).plan();
    assert_eq!(plan.launch, 7, "half of 15");
    assert!(
        plan.reason.contains("for at most 7 workers"),
        "{}",
        plan.reason
    );
    for (most, max_workers, expected) in [
        (None, 1, 1),
        (Some(3), 15, 3),
        (Some(9), 4, 4),
        (Some(0), 4, 0),
    ] {
        let mut fleet = Fleet::none().bounded(0, max_workers).with_frames(100_000);
        fleet.policy.video.max_workers = most;
        assert_eq!(fleet.plan().launch, expected, "{most:?} of {max_workers}");
    }
}

#[test]
fn frames_change_nothing_about_the_workers_for_photos() {
    for kind in PolicyKind::ALL {
        for unanswered in [1, 4, 40] {
            let mut fleet = Fleet::of(5).idle().bounded(0, 15).with_backlog(unanswered);
            fleet.policy.kind = kind;
            let without = fleet.plan();
            let with = fleet.with_frames(100_000).plan();
            assert!(with.desired_workers >= without.desired_workers, "{kind:?}");
            assert!(with.launch >= without.launch, "{kind:?}");
            assert!(
                with.desired_workers <= without.desired_workers.max(7),
                "{kind:?} {with:?}"
            );
        }
    }
}

#[test]
fn workers_that_are_up_keep_the_frames_they_have_and_go_when_none_is_left() {
    let busy = || {
        Fleet::of(4)
            .busy()
            .bounded(0, 15)
            .without_demand_for_ms(60_000)
    };
    let keeping = busy().with_frames(9).plan();
    assert_eq!((keeping.desired_workers, keeping.cordon.len()), (4, 0));
    // Fewer frames than workers: the idle ones go.
    let fewer = Fleet::of(2).busy().and(2).idle().for_ms(60_000);
    let fewer = fewer
        .bounded(0, 15)
        .without_demand_for_ms(60_000)
        .with_frames(2)
        .plan();
    assert_eq!(fewer.cordon, ids([3, 4]), "{fewer:?}");
    let none = busy().plan();
    assert_eq!((none.desired_workers, none.cordon.len()), (0, 4));
}

#[test]
fn messages_of_frames_are_not_taken_for_photos_that_front_forgot() {
    let mut fleet = fleet()
        .without_demand_for_ms(600_000)
        .with_frames(30)
        .with_messages(3);
    fleet.memory.leftover_since = Some(Timestamp::default());
    fleet.policy.video.max_workers = Some(0);
    let plan = fleet.plan();
    assert_eq!(plan.desired_workers, 0, "{plan:?}");
    let forgotten = fleet.with_messages(40).plan();
    assert_eq!(forgotten.desired_workers, 1, "{forgotten:?}");
}

#[test]
fn a_scale_out_for_frames_starts_no_cooldown_for_photos() {
    let mut fleet = Fleet::of(9).with_frames(600).bounded(0, 9);
    fleet.policy.bounds = Bounds {
        scale_out_cooldown: Duration::from_secs(300),
        ..fleet.policy.bounds
    };
    fleet.policy.kind = PolicyKind::Step;
    let (first, memory) = plan(&fleet.policy, &fleet.observation, Memory::default());
    assert_eq!(first.start.len(), 4, "{first:?}");
    let more = fleet.clone().with_frames(10_000);
    let (waits, _) = plan(&more.policy, &more.observation, memory.clone());
    assert!(
        waits.start.is_empty(),
        "more frames wait for the cooldown: {waits:?}"
    );
    let mut photos = Fleet::of(4).busy().and(5).bounded(0, 9).with_backlog(9);
    photos.policy = fleet.policy.clone();
    let photos = photos.with_frames(600);
    let (again, _) = plan(&photos.policy, &photos.observation, memory);
    assert_eq!(again.start.len(), 5, "{again:?}");
}

#[test]
fn the_time_of_a_frame_is_measured_apart_from_that_of_a_photo() {
    let mut fleet = Fleet::of(2).busy().bounded(0, 15).with_frames(1_000);
    let mut memory = Memory::default();
    // Two workers do one frame a second each.
    for second in 0..20 {
        let now = NOW.after(Duration::from_secs(second));
        fleet.observation.now = now;
        for instance in &mut fleet.observation.instances {
            (instance.state, instance.heard) = (InstanceState::Busy, Some(now));
        }
        let front = fleet.observation.front.as_mut().unwrap();
        front.at = now;
        front.value.frames_done_total = 2 * second;
        (_, memory) = plan(&fleet.policy, &fleet.observation, memory);
    }
    let Some(Smoothed { mean, samples, .. }) = memory.estimates.frame else {
        panic!("frames were measured");
    };
    assert!(
        (mean - 1.0).abs() < 0.01 && samples > 10,
        "{mean} {samples}"
    );
    assert_eq!(memory.estimates.service.map(|it| it.samples), Some(0));
    assert_eq!(fleet.policy.video, Video::default());
}
