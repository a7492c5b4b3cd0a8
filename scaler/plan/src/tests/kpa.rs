use super::fleet_simulation::{FleetSimulation, falls, first_change};
use crate::PolicyKind;

#[test]
fn kpa_wants_a_worker_for_each_seven_tenths_of_a_request() {
    for (concurrency, workers) in [(1, 2), (7, 10), (8, 12), (14, 20)] {
        let mut simulation = FleetSimulation::under(PolicyKind::Kpa, 0, 30);
        assert_eq!(simulation.at(0, 0), 0);
        assert_eq!(simulation.at(1, concurrency), workers, "at once from zero");
        assert_eq!(
            simulation.through(2..=200, concurrency).last(),
            Some(&workers),
            "and in the long run"
        );
    }
}

#[test]
fn kpa_panics_when_the_short_window_wants_twice_what_is_ready_and_then_never_goes_down() {
    let mut simulation = FleetSimulation::under(PolicyKind::Kpa, 0, 30);
    assert_eq!(simulation.through(0..=1, 0).last(), Some(&0));
    // One request for two minutes: two workers.
    assert_eq!(simulation.through(2..=121, 1).last(), Some(&2));
    // Seven at a time for ten seconds. The short window knows after 6 s; the long one would not want more than 4.
    let burst = simulation.through(122..=131, 7);
    assert!(burst.windows(2).all(|pair| pair[0] <= pair[1]), "{burst:?}");
    assert_eq!(burst.last(), Some(&10));
    let plan = simulation.plan_at(132, 1);
    assert_eq!(plan.desired_workers, 10);
    assert!(
        plan.rejected[0].reason.contains("the stable window alone"),
        "{plan:?}"
    );
    // Twice what is ready was last wanted soon after the burst began: then 10 became ready.
    let after = simulation.through(133..=200, 1);
    let (calm, workers) = first_change(&after).unwrap();
    assert!(workers < 10);
    let calm_at = calm as u64 + 133;
    assert!((122 + 60..=131 + 60 + 2).contains(&calm_at), "{calm_at}");
}

#[test]
fn kpa_halves_at_most_and_keeps_the_last_worker_for_the_grace_period() {
    let mut simulation = FleetSimulation::under(PolicyKind::Kpa, 0, 30);
    simulation.at(0, 14);
    let wanted = simulation.through(1..=300, 0);
    // Panic ends 60 s after the last tick that wanted twice as many as were ready: that at 0 s, as all are ready at
    // 1 s. By then the long window has forgotten the burst. The grace period begins when none is wanted, at 70 s.
    assert_eq!(
        falls(&wanted, 1),
        [(62, 10), (64, 5), (66, 2), (68, 1), (100, 0)]
    );
}

#[test]
fn kpa_without_history_stops_no_worker_for_a_minute() {
    let mut simulation = FleetSimulation::under(PolicyKind::Kpa, 6, 15);
    let wanted = simulation.through(0..=60, 0);
    assert_eq!(first_change(&wanted), None);
    assert!(simulation.at(62, 0) < 6);
}
