use super::fleet_simulation::{FleetSimulation, first_change};
use crate::PolicyKind;

#[test]
fn hpa_follows_the_ratio_of_utilization_to_its_target() {
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
        let mut simulation = FleetSimulation::under(PolicyKind::Hpa, ready, 20);
        assert_eq!(simulation.at(0, busy), wanted, "{busy} of {ready} busy");
    }
}

#[test]
fn hpa_is_never_without_a_worker() {
    let mut simulation = FleetSimulation::under(PolicyKind::Hpa, 0, 15);
    assert_eq!(simulation.at(0, 0), 1);
    let wanted = simulation.through(1..=900, 0);
    assert_eq!(first_change(&wanted), None);
}

#[test]
fn hpa_counts_workers_that_are_not_ready_as_idle_before_growing() {
    let mut simulation = FleetSimulation::under(PolicyKind::Hpa, 4, 20).booting_for_seconds(100);
    assert_eq!(simulation.at(0, 100), 5);
    // 4 of 5 are as many as should be busy.
    assert_eq!(simulation.through(1..=99, 100), [5; 99]);
    assert_eq!(simulation.through(100..=120, 100).last(), Some(&7));
}

#[test]
fn hpa_goes_down_to_the_highest_recommendation_of_five_minutes() {
    let mut simulation = FleetSimulation::under(PolicyKind::Hpa, 8, 20);
    assert_eq!(simulation.at(0, 6), 8, "75 % are near enough to 80 %");
    let wanted = simulation.through(1..=298, 2);
    assert_eq!(first_change(&wanted), None);
    let plan = simulation.plan_at(299, 2);
    assert_eq!((plan.desired_workers, plan.rejected[0].workers), (8, 3));
    assert_eq!(simulation.at(300, 2), 3);
    let wanted = simulation.through(301..=700, 0);
    assert_eq!(wanted.last(), Some(&1));
}
