//! The published policies, by the worked examples and the defaults of their sources.

use std::time::Duration;

use clap::ValueEnum;
use proptest::prelude::*;

use super::course::Course;
use super::histories::{event, happen, policy};
use super::simulated::Cloud;
use crate::plan::fixtures::NOW;
use crate::plan::{Policy, PolicyKind, State};

/// The second of the first change of what is wanted, and what is wanted then.
fn first_change(wanted: &[u32]) -> Option<(usize, u32)> {
    let changed = wanted.iter().position(|it| *it != wanted[0])?;
    Some((changed, wanted[changed]))
}

/// AWS's example: 0.1 s for a message and 10 s of latency make 100 messages acceptable for each instance.
fn with_an_acceptable_backlog_of_100(mut course: Course) -> Course {
    course.fleet.policy.goal.latency = Duration::from_secs(10);
    course.fleet.policy.goal.service_time = Duration::from_millis(100);
    course
}

#[test]
fn backlog_scales_out_as_in_the_guides_example() {
    let course = Course::under(PolicyKind::BacklogPerInstance, 10, 20);
    let mut course = with_an_acceptable_backlog_of_100(course);
    // 1500 messages wait, besides those that the 10 instances work on; 150 for each is half as much again as acceptable.
    let wanted = course.through(0..=119, 1510);
    assert_eq!(wanted, [10; 120]);
    assert_eq!(course.at(120, 1510), 15, "with the third datapoint");
    // The 5 new ones work too.
    assert_eq!(course.through(121..=300, 1515), [15; 180]);
}

#[test]
fn backlog_that_is_acceptable_changes_nothing() {
    let course = Course::under(PolicyKind::BacklogPerInstance, 10, 20);
    let mut course = with_an_acceptable_backlog_of_100(course);
    let wanted = course.through(0..=1_200, 1_010);
    assert_eq!(first_change(&wanted), None);
}

#[test]
fn backlog_names_what_it_would_want_without_its_alarms() {
    let course = Course::under(PolicyKind::BacklogPerInstance, 10, 20);
    let mut course = with_an_acceptable_backlog_of_100(course);
    let plan = course.plan_at(0, 1_510);
    assert_eq!(plan.rejected.len(), 1);
    assert_eq!(plan.rejected[0].workers, 15);
    assert_eq!(plan.wake_at, Some(NOW.after(Duration::from_secs(60))));
}

#[test]
fn backlog_starts_the_first_instance_after_three_datapoints_and_keeps_the_last_while_there_is_work()
{
    let mut course = Course::under(PolicyKind::BacklogPerInstance, 0, 15);
    assert_eq!(course.through(0..=119, 1), [0; 120]);
    assert_eq!(course.at(120, 1), 1);
    let wanted = course.through(121..=2_000, 1);
    assert_eq!(first_change(&wanted), None);
}

#[test]
fn backlog_scales_in_after_fifteen_datapoints_to_what_the_largest_of_them_takes() {
    let course = Course::under(PolicyKind::BacklogPerInstance, 10, 20);
    let mut course = with_an_acceptable_backlog_of_100(course);
    course.at(0, 10 + 350);
    let wanted = course.through(1..=839, 10 + 200);
    assert_eq!(first_change(&wanted), None);
    assert_eq!(course.at(840, 10 + 200), 4);
    assert_eq!(course.at(900, 4 + 200), 2, "the first one is out of sight");
    let wanted = course.through(901..=1_800, 0);
    assert_eq!(first_change(&wanted), Some((899, 0)));
}

/// The datapoints of a full quarter of an hour were started over with each step in.
#[test]
fn backlog_that_ended_in_the_middle_of_a_quarter_of_an_hour_does_not_take_another_whole_one() {
    let mut course = Course::under(PolicyKind::BacklogPerInstance, 1, 4);
    course.through(0..=60, 1);
    let wanted = course.through(61..=1_200, 0);
    assert_eq!(first_change(&wanted), Some((960 - 61, 0)));
}

#[test]
fn backlog_does_not_scale_in_while_instances_warm_up() {
    let course = Course::under(PolicyKind::BacklogPerInstance, 1, 20);
    let mut course = with_an_acceptable_backlog_of_100(course);
    // Below at first, so that the datapoints alone would allow it early.
    assert_eq!(course.through(0..=120, 501).last(), Some(&5));
    let wanted = course.through(121..=1_100, 0);
    let (after, workers) = first_change(&wanted).unwrap();
    assert_eq!((after as u64 + 121, workers), (1_020, 0), "180 s + 14 min");
}

#[test]
fn keda_wants_a_worker_for_five_messages() {
    // The documentation's example has 10 messages for a pod, and 3 pods for 30; the default is 5.
    for (messages, workers) in [(1, 1), (5, 1), (6, 2), (10, 2), (11, 3), (30, 6), (500, 8)] {
        let mut course = Course::under(PolicyKind::Keda, 0, 8);
        course.at(0, messages);
        assert_eq!(
            course.through(1..=60, messages).last(),
            Some(&workers),
            "{messages}"
        );
    }
}

#[test]
fn keda_activates_at_a_poll_and_then_leaves_it_to_kubernetes() {
    let mut course = Course::under(PolicyKind::Keda, 0, 15);
    course.at(0, 0);
    let wanted = course.through(1..=29, 100);
    assert_eq!(wanted, [0; 29], "polls are 30 s apart");
    assert_eq!(course.at(30, 100), 1);
    assert_eq!(course.through(31..=44, 100), [1; 14]);
    // At most 4 more, or as many again, with each look.
    assert_eq!(course.at(45, 100), 5);
    assert_eq!(course.at(60, 100), 10);
    assert_eq!(course.at(75, 100), 15);
}

#[test]
fn keda_goes_down_to_one_after_the_stabilisation_and_to_none_after_the_cooldown() {
    let mut course = Course::under(PolicyKind::Keda, 0, 15);
    course.through(0..=60, 40);
    assert_eq!(course.at(61, 0), 8);
    let wanted = course.through(62..=500, 0);
    let falls: Vec<_> = wanted
        .windows(2)
        .zip(63_u64..)
        .filter(|(pair, _)| pair[0] != pair[1])
        .map(|(pair, second)| (second, pair[1]))
        .collect();
    // The last look and the last poll that saw messages were at 60 s; "after" 300 s is at the poll past them.
    assert_eq!(falls, [(360, 1), (390, 0)]);
}

#[test]
fn keda_tolerates_a_tenth() {
    let mut course = Course::under(PolicyKind::Keda, 10, 15);
    // 55 messages are 10 % more than 10 workers are for.
    assert_eq!(course.through(0..=60, 55).last(), Some(&10));
    assert_eq!(course.through(61..=90, 56).last(), Some(&12));
}

#[test]
fn hpa_follows_the_ratio_of_utilisation_to_its_target() {
    // Workers, busy ones, and how many are wanted.
    let rows = [
        (4, 4, 5),
        (5, 4, 5),
        // 8 of 9 are 111 % of the target, 13 of 15 are 108 %.
        (9, 8, 10),
        (15, 13, 15),
        (10, 10, 13),
        (1, 1, 2),
    ];
    for (ready, busy, wanted) in rows {
        let mut course = Course::under(PolicyKind::Hpa, ready, 20);
        assert_eq!(course.at(0, busy), wanted, "{busy} of {ready} busy");
    }
}

#[test]
fn hpa_is_never_without_a_worker() {
    let mut course = Course::under(PolicyKind::Hpa, 0, 15);
    assert_eq!(course.at(0, 0), 1);
    let wanted = course.through(1..=900, 0);
    assert_eq!(first_change(&wanted), None);
}

#[test]
fn hpa_takes_those_not_yet_ready_to_be_idle_when_more_seem_to_be_needed() {
    let mut course = Course::under(PolicyKind::Hpa, 4, 20).booting_for_seconds(100);
    assert_eq!(course.at(0, 100), 5);
    // 4 of 5 are as many as should be busy.
    assert_eq!(course.through(1..=99, 100), [5; 99]);
    assert_eq!(course.through(100..=120, 100).last(), Some(&7));
}

#[test]
fn hpa_goes_down_to_the_highest_recommendation_of_five_minutes() {
    let mut course = Course::under(PolicyKind::Hpa, 8, 20);
    assert_eq!(course.at(0, 6), 8, "75 % are near enough to 80 %");
    let wanted = course.through(1..=298, 2);
    assert_eq!(first_change(&wanted), None);
    let plan = course.plan_at(299, 2);
    assert_eq!((plan.desired_workers, plan.rejected[0].workers), (8, 3));
    assert_eq!(course.at(300, 2), 3);
    let wanted = course.through(301..=700, 0);
    assert_eq!(wanted.last(), Some(&1));
}

#[test]
fn kpa_wants_a_worker_for_each_seven_tenths_of_a_request() {
    for (concurrency, workers) in [(1, 2), (7, 10), (8, 12), (14, 20)] {
        let mut course = Course::under(PolicyKind::Kpa, 0, 30);
        assert_eq!(course.at(0, 0), 0);
        assert_eq!(course.at(1, concurrency), workers, "at once from zero");
        assert_eq!(
            course.through(2..=200, concurrency).last(),
            Some(&workers),
            "and in the long run"
        );
    }
}

#[test]
fn kpa_panics_when_the_short_window_wants_twice_what_is_ready_and_then_never_goes_down() {
    let mut course = Course::under(PolicyKind::Kpa, 0, 30);
    assert_eq!(course.through(0..=1, 0).last(), Some(&0));
    // One request for two minutes: two workers.
    assert_eq!(course.through(2..=121, 1).last(), Some(&2));
    // Seven at a time for ten seconds. The short window knows after 6 s; the long one would not want more than 4.
    let burst = course.through(122..=131, 7);
    assert!(burst.windows(2).all(|pair| pair[0] <= pair[1]), "{burst:?}");
    assert_eq!(burst.last(), Some(&10));
    let plan = course.plan_at(132, 1);
    assert_eq!(plan.desired_workers, 10);
    assert!(
        plan.rejected[0].reason.contains("the stable window alone"),
        "{plan:?}"
    );
    // Twice what is ready was last wanted soon after the burst began: then 10 became ready.
    let after = course.through(133..=200, 1);
    let (calm, workers) = first_change(&after).unwrap();
    assert!(workers < 10);
    let calm_at = calm as u64 + 133;
    assert!((122 + 60..=131 + 60 + 2).contains(&calm_at), "{calm_at}");
}

#[test]
fn kpa_halves_at_most_and_keeps_the_last_worker_for_the_grace_period() {
    let mut course = Course::under(PolicyKind::Kpa, 0, 30);
    course.at(0, 14);
    let wanted = course.through(1..=300, 0);
    let falls: Vec<_> = wanted
        .windows(2)
        .zip(2_u64..)
        .filter(|(pair, _)| pair[0] != pair[1])
        .map(|(pair, second)| (second, pair[1]))
        .collect();
    // Panic ends 60 s after the last tick that wanted twice as many as were ready: that at 0 s, as all are ready at
    // 1 s. By then the long window has forgotten the burst. The grace period begins when none is wanted, at 70 s.
    assert_eq!(falls, [(62, 10), (64, 5), (66, 2), (68, 1), (100, 0)]);
}

#[test]
fn kpa_that_knows_no_history_stops_nobody_for_a_minute() {
    let mut course = Course::under(PolicyKind::Kpa, 6, 15);
    let wanted = course.through(0..=60, 0);
    assert_eq!(first_change(&wanted), None);
    assert!(course.at(62, 0) < 6);
}

#[test]
fn a_policy_that_is_exchanged_starts_afresh() {
    let mut course = Course::under(PolicyKind::Kpa, 0, 15);
    course.at(0, 10);
    course.fleet.policy.kind = PolicyKind::Step;
    course.through(1..=100, 0);
    course.fleet.policy.kind = PolicyKind::Kpa;
    assert_eq!(course.at(101, 0), 0, "the panic is forgotten");
}

#[test]
fn when_neither_front_nor_the_queue_can_be_reached_nothing_changes() {
    for kind in PolicyKind::value_variants() {
        let mut course = Course::under(*kind, 4, 15);
        course.through(0..=1, 4);
        let before = course.plan_at(2, 4).desired_workers;
        course.lose(true, true);
        for second in 3..1_000 {
            let plan = course.plan_at(second, 0);
            assert!(
                plan.cordon.is_empty() && plan.stop.is_empty(),
                "{kind:?} {plan:?}"
            );
            assert!(plan.desired_workers >= before.min(4), "{kind:?} {plan:?}");
        }
    }
}

#[test]
fn when_front_cannot_be_reached_the_queues_counters_stand_in() {
    for kind in [PolicyKind::Keda, PolicyKind::Kpa] {
        let (mut told, mut counted) = (Course::under(kind, 0, 15), Course::under(kind, 0, 15));
        counted.lose(true, false);
        for second in 0..200 {
            assert_eq!(told.at(second, 8), counted.at(second, 8), "{kind:?}");
        }
    }
}

const PUBLISHED: [PolicyKind; 5] = [
    PolicyKind::BacklogPerInstance,
    PolicyKind::Keda,
    PolicyKind::Hpa,
    PolicyKind::Kpa,
    PolicyKind::Schedule,
];

/// What a policy comes down to without demand.
fn least(kind: PolicyKind, min_workers: u32) -> u32 {
    match kind {
        PolicyKind::Hpa => min_workers.max(1),
        _ => min_workers,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(64)))]

    /// [`Course::plan_at`] checks the limits at each step, and that planning again changes nothing.
    #[test]
    fn whatever_the_demand_every_policy_ends_at_its_minimum(
        kind in prop::sample::select(PolicyKind::value_variants()),
        min in 0_u32..3,
        more in 1_u32..8,
        up in 0_usize..8,
        boot in 0_u64..40,
        demands in prop::collection::vec((0_u64..60, 1_u64..90), 1..12),
    ) {
        let max = min + more;
        let mut course = Course::under(kind, up.min(max as usize), max)
            .with_min_workers(min)
            .booting_for_seconds(boot);
        let mut second = 0;
        for (demand, seconds) in demands {
            for _ in 0..seconds {
                course.at(second, demand);
                second += 1;
            }
        }
        // 5 minutes of warm-up, and 15 datapoints one minute apart.
        let wanted = course.through(second..=second + 1_300, 0);
        prop_assert_eq!(wanted.last(), Some(&least(kind, min)));
        let up = course.fleet.observation.instances.iter().filter(|it| {
            !matches!(it.state, State::Stopped | State::Stopping)
        });
        prop_assert_eq!(up.count(), least(kind, min) as usize);
    }

    #[test]
    fn under_every_policy_somebody_comes_while_there_is_demand(
        kind in prop::sample::select(PolicyKind::value_variants()),
        demand in 1_u64..60,
        quiet in 0_u64..100,
    ) {
        let mut course = Course::under(kind, 0, 15);
        course.through(0..=quiet, 0);
        let wanted = course.through(quiet + 1..=quiet + 181, demand);
        prop_assert!(wanted.last() > Some(&0));
    }
}

proptest! {
    // Their windows are minutes long, and a case takes a second.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(16)))]

    /// [`Cloud::step`] checks at each step what must never happen.
    #[test]
    fn whatever_happens_demand_is_met_under_the_published_policies(
        seed in any::<u64>(),
        kind in prop::sample::select(&PUBLISHED[..]),
        min in 0_u32..3,
        more in 1_u32..8,
        history in prop::collection::vec((event(), 1_u32..3_000), 1..20),
    ) {
        let policy = Policy { kind, ..policy(min, more) };
        let mut cloud = Cloud::new(policy, seed);
        for (event, steps) in history {
            happen(&mut cloud, &event);
            for _ in 0..steps {
                cloud.step();
            }
        }
        (cloud.front_is_lost, cloud.queue_is_lost, cloud.ec2_is_lost) = (false, false, false);
        let least = least(kind, min) as usize;
        let settled = |cloud: &Cloud| {
            cloud.unanswered == 0 && cloud.up() == least && !cloud.has_hung_worker()
        };
        let began = cloud.now;
        while !settled(&cloud) {
            cloud.step();
            prop_assert!(cloud.now.since(began) < Duration::from_secs(2_400), "{cloud:?}");
        }
    }
}
