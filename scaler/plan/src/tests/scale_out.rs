use std::time::Duration;

use crate::fixtures::{Fleet, ago, ids};
use crate::{CallBackoff, Observation, Policy, RefusedCalls, Timestamp};

#[test]
fn a_hundred_requests_launch_the_maximum_from_nothing() {
    let plan = Fleet::none().with_backlog(100).plan();
    assert_eq!((plan.desired_workers, plan.launch), (15, 15));
    assert_eq!(
        plan.reason,
        "100 requests unanswered, so 15 wanted, the maximum, 0 there: launch 15"
    );
}

#[test]
fn no_instance_is_started_or_launched_while_workers_fail_to_boot() {
    let fleet = Fleet::of(2).and(1).cordoned().with_backlog(5);
    let held = fleet.clone().with_boots_failed_and_held_for_ms(3, 4_000);
    let plan = held.plan();
    assert_eq!(
        (plan.uncordon, plan.start, plan.launch),
        (ids([3]), vec![], 0)
    );
    assert_eq!(
        plan.reason,
        "5 requests unanswered, so 5 wanted, 0 there: uncordon 1; starts pause for a while: workers failed to \
         boot 3 times in a row"
    );
    assert_eq!(
        plan.wake_at,
        held.observation.failed_boots.map(|it| it.held_until)
    );
    let plan = fleet.with_boots_failed_and_held_for_ms(3, 0).plan();
    assert_eq!((plan.start, plan.launch), (ids([1, 2]), 2));
}

#[test]
fn one_request_starts_one_stopped_instance() {
    let plan = Fleet::of(15).with_backlog(1).plan();
    assert_eq!(
        (plan.desired_workers, plan.start, plan.launch),
        (1, ids([1]), 0)
    );
}

#[test]
fn stopped_instances_start_before_others_are_launched() {
    let plan = Fleet::of(12).with_backlog(40).plan();
    assert_eq!((plan.start, plan.launch), (ids(1..=12), 3));
}

#[test]
fn instances_on_their_way_up_are_not_requested_again() {
    for fleet in [
        Fleet::of(3).booting().and(2).pending(),
        Fleet::of(5).busy(),
        Fleet::none().launching(5),
        Fleet::of(1).idle().and(2).booting().launching(2),
    ] {
        let plan = fleet.clone().with_backlog(5).plan();
        assert!(!plan.changes_something(), "{fleet:?} {plan:?}");
        assert_eq!(fleet.and(9).with_backlog(7).plan().start.len(), 2);
    }
}

#[test]
fn draining_and_cordoned_workers_are_uncordoned_before_others_start() {
    let fleet = Fleet::of(2).draining().and(1).cordoned().and(4);
    let plan = fleet.clone().with_backlog(2).plan();
    assert_eq!(
        (plan.uncordon, plan.start, plan.stop),
        (ids([3, 1]), vec![], vec![])
    );
    let plan = fleet.with_backlog(5).plan();
    assert_eq!((plan.uncordon, plan.start), (ids([3, 1, 2]), ids([4, 5])));
}

#[test]
fn stopping_instances_are_awaited_rather_than_replaced() {
    let fleet = Fleet::of(10)
        .stopping()
        .for_ms(9_000)
        .and(5)
        .with_backlog(15);
    let plan = fleet.plan();
    assert_eq!((plan.start.len(), plan.launch), (5, 0));
    assert_eq!(
        plan.wake_at,
        Some(ago(9_000).after(fleet.policy.timeouts.stopping_timeout))
    );
}

#[test]
fn instances_that_take_too_long_to_stop_are_replaced() {
    let plan = Fleet::of(10)
        .stopping()
        .for_ms(10_000)
        .and(5)
        .with_backlog(15)
        .plan();
    assert_eq!((plan.start.len(), plan.launch), (5, 10));
}

#[test]
fn the_maximum_counts_all_running_instances() {
    let plan = Fleet::of(20)
        .and(10)
        .busy()
        .and(4)
        .booting()
        .with_backlog(100)
        .plan();
    assert_eq!((plan.start.len(), plan.launch), (1, 0));
}

#[test]
fn the_minimum_is_kept_up_without_demand() {
    let plan = Fleet::of(1).bounded(3, 15).plan();
    assert_eq!(
        (plan.desired_workers, plan.start.len(), plan.launch),
        (3, 1, 2)
    );
}

#[test]
fn the_queue_stands_in_for_front() {
    for fleet in [
        Fleet::of(15).with_front_unreachable(),
        Fleet::of(15).with_front_silent_for_ms(3_001),
    ] {
        let plan = fleet.with_messages(4).plan();
        assert_eq!(plan.start.len(), 4);
        assert!(
            plan.reason
                .starts_with("front is unreachable and the queue holds 4 messages")
        );
    }
}

#[test]
fn the_queue_does_not_overrule_front() {
    assert_eq!(
        Fleet::of(15)
            .with_backlog(2)
            .with_messages(40)
            .plan()
            .start
            .len(),
        2
    );
    assert!(
        !Fleet::of(15)
            .with_backlog(0)
            .with_messages(40)
            .plan()
            .changes_something()
    );
}

#[test]
fn messages_that_a_restarted_front_forgot_get_a_worker_in_the_end() {
    let mut fleet = Fleet::of(15).with_backlog(0).with_messages(40);
    fleet.memory.zero_since = Some(ago(60_000));
    fleet.memory.leftover_since = Some(ago(29_999));
    assert_eq!(fleet.plan().start, vec![]);
    fleet.memory.leftover_since = Some(ago(30_000));
    assert_eq!(fleet.plan().start, ids([1]));
}

#[test]
fn no_call_is_made_before_ec2_has_answered() {
    let mut fleet = Fleet::none().with_backlog(9);
    fleet.observation.described_at = None;
    let plan = fleet.plan();
    assert!(!plan.changes_something());
    assert_eq!(plan.reason, "EC2 has not yet listed the instances");
}

#[test]
fn by_an_old_answer_of_ec2_instances_are_started_but_not_launched() {
    let plan = Fleet::of(4).described_ms_ago(5_001).with_backlog(9).plan();
    assert_eq!((plan.start.len(), plan.launch), (4, 0));
}

/// The list of a large fleet takes several calls. It was once too old when it arrived, so that nothing was ever done.
#[test]
fn a_list_that_takes_eight_seconds_still_permits_launches() {
    let mut fleet = Fleet::none().with_backlog(3);
    fleet.observation.described_in = Duration::from_secs(8);
    for (described_ms_ago, launch) in [(8_000, 3), (13_000, 3), (13_001, 0)] {
        let plan = fleet.clone().described_ms_ago(described_ms_ago).plan();
        assert_eq!(plan.launch, launch, "{plan:?}");
        let is_named = plan.reason.ends_with("; EC2's last list is 13 s old");
        assert_eq!(is_named, launch == 0, "{}", plan.reason);
    }
}

/// A list from before may lack what the former leader launched last.
#[test]
fn a_new_leader_acts_on_a_list_that_it_asked_for_as_leader() {
    let busy = Fleet::of(4).and(1).cordoned().with_backlog(9);
    let ended = Fleet::of(1).cordoned().without_demand_for_ms(60_000);
    for (mut fleet, starts, launches, stops) in [(busy, 4, 4, 0), (ended, 0, 0, 1)] {
        fleet.observation.leads_since = Some(ago(1_000));
        for (described_ms_ago, acts) in [(1_001, false), (1_000, true), (0, true)] {
            let plan = fleet.clone().described_ms_ago(described_ms_ago).plan();
            let expected = if acts {
                (starts, launches, stops)
            } else {
                (0, 0, 0)
            };
            let done = (plan.start.len(), plan.launch, plan.stop.len());
            assert_eq!(done, expected, "{plan:?}");
            // Orders to workers do not wait.
            assert_eq!(plan.uncordon.len(), usize::from(starts > 0));
        }
    }
}

#[test]
fn refused_calls_are_held_back_and_the_scaler_wakes_for_them() {
    let mut fleet = Fleet::of(4).with_backlog(9);
    let later = Timestamp::after_epoch(fleet.observation.now.elapsed() * 2);
    fleet.observation.call_backoff.start = Some(later);
    let plan = fleet.plan();
    // No launch replaces a start that is held back.
    assert_eq!(
        (plan.start.len(), plan.launch, plan.wake_at),
        (0, 5, Some(later))
    );
}

#[test]
fn the_reason_says_where_the_budget_is_the_bound() {
    let mut fleet = Fleet::none().with_backlog(100);
    fleet.policy.bounds.budget_per_hour = Some(4.5 * fleet.policy.prices.per_hour);
    assert_eq!(
        fleet.plan().reason,
        "100 requests unanswered, so 4 wanted, all that the budget pays for, 0 there: launch 4"
    );
    fleet.policy.bounds.budget_per_hour = Some(20.0 * fleet.policy.prices.per_hour);
    let reason = fleet.plan().reason;
    assert!(reason.contains("so 15 wanted, the maximum"), "{reason}");
}

#[test]
fn the_reason_names_what_ec2_refused() {
    let mut fleet = Fleet::none().with_backlog(5);
    fleet.observation.call_backoff = CallBackoff {
        launch: Some(fleet.observation.now.after(Duration::from_secs(9))),
        refused: RefusedCalls {
            launch: Some("InsufficientInstanceCapacity".to_owned()),
            ..RefusedCalls::default()
        },
        ..CallBackoff::default()
    };
    assert_eq!(
        fleet.plan().reason,
        "5 requests unanswered, so 5 wanted, 0 there: nothing to do; the last launch failed: \
         InsufficientInstanceCapacity"
    );
    // It is tried again.
    fleet.observation.call_backoff.launch = Some(fleet.observation.now);
    let reason = fleet.plan().reason;
    assert!(reason.ends_with("0 there: launch 5"), "{reason}");
}

#[test]
fn launched_instances_get_the_lowest_free_numbers() {
    let fleet = Fleet::of(2)
        .and(2)
        .pending()
        .unnamed()
        .and(1)
        .and(1)
        .pending()
        .unnamed();
    let plan = fleet.with_backlog(3).plan();
    let renames: Vec<_> = ids([3, 4, 6]).into_iter().zip([3, 4, 6]).collect();
    assert_eq!(plan.rename, renames);
    let unlisted = Fleet::of(1)
        .pending()
        .unnamed()
        .unlisted()
        .with_backlog(1)
        .plan();
    assert_eq!(unlisted.rename, vec![]);
}

#[test]
fn an_instance_with_a_duplicate_number_is_renamed() {
    let mut fleet = Fleet::of(3);
    fleet.observation.instances[2].number = Some(1);
    assert_eq!(
        fleet.plan().rename,
        vec![(fleet.observation.instances[2].id.clone(), 3)]
    );
}

#[test]
fn a_plan_needs_no_history() {
    let (plan, _) = crate::plan(&policy(), &Observation::default(), Default::default());
    assert!(!plan.changes_something());
}

fn policy() -> Policy {
    Fleet::none().policy
}

#[test]
fn workers_that_were_up_before_the_scaler_do_not_count_as_boots() {
    // After a restart their streams are missing, so they look as if they were booting.
    let mut fleet = Fleet::of(2).booting();
    for instance in &mut fleet.observation.instances {
        instance.started_at = Some(ago(900_000));
    }
    fleet.memory = Default::default();
    let (_, memory) = crate::plan(&fleet.policy, &fleet.observation, fleet.memory.clone());
    let mut attending = fleet.idle();
    for instance in &mut attending.observation.instances {
        instance.started_at = Some(ago(900_000));
    }
    let (_, memory) = crate::plan(&attending.policy, &attending.observation, memory);
    assert_eq!(memory.estimates.boot.map(|boot| boot.samples), Some(0));
}

#[test]
fn messages_beyond_fronts_demand_count_after_a_while() {
    let mut fleet = Fleet::of(15).with_backlog(1).with_messages(9);
    assert_eq!(fleet.plan().desired_workers, 1);
    fleet.memory.leftover_since = Some(ago(30_000));
    assert_eq!(fleet.plan().desired_workers, 9);
}

#[test]
fn a_worker_that_is_ready_before_it_was_seen_booting_counts_as_a_boot() {
    let mut fleet = Fleet::of(1).with_backlog(1);
    let (plan, memory) = crate::plan(&fleet.policy, &fleet.observation, fleet.memory.clone());
    assert_eq!(plan.start, ids([1]));
    let ordered_at = fleet.observation.now;
    fleet = fleet.idle();
    fleet.observation.now = ordered_at.after(Duration::from_millis(40));
    let instance = &mut fleet.observation.instances[0];
    instance.started_at = Some(ordered_at);
    instance.since = fleet.observation.now;
    let (_, memory) = crate::plan(&fleet.policy, &fleet.observation, memory);
    let boot = memory.estimates.boot.unwrap();
    assert_eq!((boot.samples, boot.mean), (1, 0.04));
    // A second observation is no other boot.
    let (_, memory) = crate::plan(&fleet.policy, &fleet.observation, memory);
    assert_eq!(memory.estimates.boot.unwrap().samples, 1);
}
