//! Instances whose image or settings are old.

use crate::fixtures::{Fleet, ago, ids};
use crate::{Plan, StopCause};

fn stopped(plan: &Plan) -> Vec<(StopCause, &str)> {
    let stops = plan.stop.iter();
    stops.map(|stop| (stop.cause, stop.id.as_str())).collect()
}

#[test]
fn a_stopped_outdated_instance_is_terminated_without_demand() {
    let plan = Fleet::of(1).and(1).outdated().plan();
    assert_eq!(stopped(&plan), [(StopCause::OutdatedStopped, "i-0002")]);
    assert_eq!(
        plan.reason,
        "no requests pending; waiting in case load returns, so 0 wanted, 0 there: terminate 1 whose image or settings are old"
    );
}

#[test]
fn a_stopped_outdated_instance_is_replaced_by_a_launch() {
    let plan = Fleet::of(1).and(2).outdated().with_backlog(3).plan();
    assert_eq!((plan.start, plan.launch), (ids([1]), 2));
}

#[test]
fn outdated_instances_that_are_down_take_no_room() {
    let plan = Fleet::of(2)
        .outdated()
        .and(1)
        .stopping()
        .outdated()
        .bounded(0, 3)
        .with_backlog(3)
        .plan();
    assert_eq!((plan.start, plan.launch), (ids([]), 3));
    let current = Fleet::of(3).stopping().for_ms(0).bounded(0, 3);
    assert_eq!(current.with_backlog(3).plan().launch, 0);
}

#[test]
fn an_outdated_worker_that_stops_is_replaced_in_the_same_plan() {
    let mut fleet = Fleet::of(1).cordoned().outdated().bounded(0, 1);
    fleet.observation.instances[0].leaving = true;
    let plan = fleet.with_backlog(1).plan();
    assert_eq!(stopped(&plan), [(StopCause::Outdated, "i-0001")]);
    assert_eq!(plan.launch, 1);
}

/// Its minute is paid for either way, so it is replaced only where the budget pays for both.
#[test]
fn an_outdated_worker_that_stops_within_its_paid_minute_counts_towards_the_budget() {
    let mut fleet = Fleet::of(1).cordoned().outdated().bounded(0, 1);
    let instance = &mut fleet.observation.instances[0];
    (instance.leaving, instance.started_at) = (true, Some(ago(1_000)));
    let mut fleet = fleet.with_backlog(1);
    let price = fleet.policy.prices.per_hour;
    for (budget, launch) in [(1.0, 0), (2.0, 1)] {
        fleet.policy.bounds.budget_per_hour = Some(budget * price);
        assert_eq!(fleet.plan().launch, launch, "{budget}");
    }
}

/// Their termination frees no room for others, as they did not run.
#[test]
fn terminating_stopped_instances_does_not_exceed_the_maximum() {
    let fleet = Fleet::of(2).busy().and(2).outdated().bounded(0, 3);
    let plan = fleet.with_backlog(9).plan();
    assert_eq!((plan.start, plan.launch), (ids([]), 1));
    assert_eq!(plan.stop.len(), 2);
}

#[test]
fn a_running_outdated_instance_works_on_until_it_is_idle() {
    let fleet = Fleet::of(2).busy().outdated().with_backlog(2);
    assert!(!fleet.plan().changes_something());
    let drained = Fleet::of(1).cordoned().outdated();
    let plan = drained.without_demand_for_ms(400).plan();
    assert_eq!(stopped(&plan), [(StopCause::Outdated, "i-0001")]);
}

#[test]
fn a_cordoned_outdated_worker_is_called_back_last() {
    let fleet = Fleet::of(1).cordoned().outdated().and(1).cordoned();
    assert_eq!(fleet.clone().with_backlog(1).plan().uncordon, ids([2]));
    assert_eq!(fleet.with_backlog(2).plan().uncordon, ids([2, 1]));
}

#[test]
fn of_the_idle_workers_outdated_ones_go_first() {
    let current = Fleet::of(2).idle().for_ms(6_000);
    let fleet = current.and(1).idle().for_ms(5_000).outdated();
    let at_once = fleet.clone().bounded(2, 15).without_demand_for_ms(400);
    assert_eq!(at_once.plan().cordon, ids([3]));
    let one_by_one = fleet.with_backlog(2);
    assert_eq!(one_by_one.plan().cordon, ids([3]));
}

#[test]
fn an_outdated_instance_is_not_part_of_the_warm_pool() {
    let mut fleet = Fleet::of(1).and(1).outdated();
    fleet.policy.bounds.warm_pool = 2;
    let plan = fleet.without_demand_for_ms(400).plan();
    assert_eq!(plan.launch, 1);
}

#[test]
fn while_the_scaler_is_paused_or_ec2s_list_is_old_none_is_terminated() {
    let mut paused = Fleet::of(1).outdated();
    assert_eq!(paused.clone().described_ms_ago(6_000).plan().stop, []);
    paused.policy.paused_by = Some("an operator".to_owned());
    assert_eq!(paused.plan().stop, []);
}
