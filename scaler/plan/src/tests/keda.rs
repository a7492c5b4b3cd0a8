use super::fleet_simulation::{FleetSimulation, falls};
use crate::PolicyKind;

#[test]
fn keda_wants_a_worker_for_five_messages() {
    // The documentation's example has 10 messages for a pod, and 3 pods for 30; the default is 5.
    for (messages, workers) in [(1, 1), (5, 1), (6, 2), (10, 2), (11, 3), (30, 6), (500, 8)] {
        let mut simulation = FleetSimulation::under(PolicyKind::Keda, 0, 8);
        simulation.at(0, messages);
        assert_eq!(
            simulation.through(1..=60, messages).last(),
            Some(&workers),
            "{messages}"
        );
    }
}

#[test]
fn keda_activates_at_a_poll_and_then_leaves_it_to_kubernetes() {
    let mut simulation = FleetSimulation::under(PolicyKind::Keda, 0, 15);
    simulation.at(0, 0);
    let wanted = simulation.through(1..=29, 100);
    assert_eq!(wanted, [0; 29], "polls are 30 s apart");
    assert_eq!(simulation.at(30, 100), 1);
    assert_eq!(simulation.through(31..=44, 100), [1; 14]);
    // At most 4 more, or as many again, with each look.
    assert_eq!(simulation.at(45, 100), 5);
    assert_eq!(simulation.at(60, 100), 10);
    assert_eq!(simulation.at(75, 100), 15);
}

#[test]
fn keda_goes_down_to_one_after_the_stabilization_and_to_none_after_the_cooldown() {
    let mut simulation = FleetSimulation::under(PolicyKind::Keda, 0, 15);
    simulation.through(0..=60, 40);
    assert_eq!(simulation.at(61, 0), 8);
    let wanted = simulation.through(62..=500, 0);
    // The last look and the last poll that saw messages were at 60 s; "after" 300 s is at the poll past them.
    assert_eq!(falls(&wanted, 62), [(360, 1), (390, 0)]);
}

#[test]
fn keda_tolerates_a_tenth() {
    let mut simulation = FleetSimulation::under(PolicyKind::Keda, 10, 15);
    // 55 messages are 10 % more than 10 workers are for.
    assert_eq!(simulation.through(0..=60, 55).last(), Some(&10));
    assert_eq!(simulation.through(61..=90, 56).last(), Some(&12));
}
