use std::time::Duration;

use super::fleet_simulation::{FleetSimulation, first_change};
use crate::PolicyKind;
use crate::fixtures::NOW;

/// AWS's example: 0.1 s for a message and 10 s of latency make 100 messages acceptable for each instance.
fn with_an_acceptable_backlog_of_100(mut simulation: FleetSimulation) -> FleetSimulation {
    simulation.fleet.policy.targets.latency = Duration::from_secs(10);
    simulation.fleet.policy.targets.service_time = Duration::from_millis(100);
    simulation
}

#[test]
fn backlog_scales_out_as_in_the_guides_example() {
    let simulation = FleetSimulation::under(PolicyKind::BacklogPerInstance, 10, 20);
    let mut simulation = with_an_acceptable_backlog_of_100(simulation);
    // 1500 messages wait, besides those that the 10 instances work on; 150 for each is half as much again as acceptable.
    let wanted = simulation.through(0..=119, 1510);
    assert_eq!(wanted, [10; 120]);
    assert_eq!(simulation.at(120, 1510), 15, "with the third datapoint");
    // The 5 new ones work too.
    assert_eq!(simulation.through(121..=300, 1515), [15; 180]);
}

#[test]
fn backlog_that_is_acceptable_changes_nothing() {
    let simulation = FleetSimulation::under(PolicyKind::BacklogPerInstance, 10, 20);
    let mut simulation = with_an_acceptable_backlog_of_100(simulation);
    let wanted = simulation.through(0..=1_200, 1_010);
    assert_eq!(first_change(&wanted), None);
}

#[test]
fn backlog_names_the_number_that_its_alarms_hold_back() {
    let simulation = FleetSimulation::under(PolicyKind::BacklogPerInstance, 10, 20);
    let mut simulation = with_an_acceptable_backlog_of_100(simulation);
    let plan = simulation.plan_at(0, 1_510);
    assert_eq!(plan.rejected.len(), 1);
    assert_eq!(plan.rejected[0].workers, 15);
    assert_eq!(plan.wake_at, Some(NOW.after(Duration::from_secs(60))));
}

#[test]
fn backlog_starts_the_first_instance_after_three_datapoints_and_keeps_the_last_while_there_is_work()
{
    let mut simulation = FleetSimulation::under(PolicyKind::BacklogPerInstance, 0, 15);
    assert_eq!(simulation.through(0..=119, 1), [0; 120]);
    assert_eq!(simulation.at(120, 1), 1);
    let wanted = simulation.through(121..=2_000, 1);
    assert_eq!(first_change(&wanted), None);
}

#[test]
fn backlog_scales_in_after_fifteen_datapoints_to_what_the_largest_of_them_takes() {
    let simulation = FleetSimulation::under(PolicyKind::BacklogPerInstance, 10, 20);
    let mut simulation = with_an_acceptable_backlog_of_100(simulation);
    simulation.at(0, 10 + 350);
    let wanted = simulation.through(1..=839, 10 + 200);
    assert_eq!(first_change(&wanted), None);
    assert_eq!(simulation.at(840, 10 + 200), 4);
    assert_eq!(
        simulation.at(900, 4 + 200),
        2,
        "the first one is out of sight"
    );
    let wanted = simulation.through(901..=1_800, 0);
    assert_eq!(first_change(&wanted), Some((899, 0)));
}

/// The datapoints of a full quarter of an hour began anew with each step in.
#[test]
fn backlog_that_ended_in_the_middle_of_a_quarter_of_an_hour_does_not_take_another_whole_one() {
    let mut simulation = FleetSimulation::under(PolicyKind::BacklogPerInstance, 1, 4);
    simulation.through(0..=60, 1);
    let wanted = simulation.through(61..=1_200, 0);
    assert_eq!(first_change(&wanted), Some((960 - 61, 0)));
}

#[test]
fn backlog_does_not_scale_in_while_instances_warm_up() {
    let simulation = FleetSimulation::under(PolicyKind::BacklogPerInstance, 1, 20);
    let mut simulation = with_an_acceptable_backlog_of_100(simulation);
    // Below at first, so that the datapoints alone would allow it early.
    assert_eq!(simulation.through(0..=120, 501).last(), Some(&5));
    let wanted = simulation.through(121..=1_100, 0);
    let (after, workers) = first_change(&wanted).unwrap();
    assert_eq!((after as u64 + 121, workers), (1_020, 0), "180 s + 14 min");
}
