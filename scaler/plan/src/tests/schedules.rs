use std::time::Duration;

use super::fleet_simulation::FleetSimulation;
use crate::fixtures::{Fleet, NOW};
use crate::{Policy, PolicyKind, Timestamp, Window};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// From the first to the last hour of the day.
fn window(from: u32, to: u32, min_workers: u32) -> Window {
    Window {
        from: HOUR * from,
        to: HOUR * to,
        min_workers,
    }
}

/// NOW is 1000 s after midnight.
fn second_of(hour: u64) -> u64 {
    hour * 3_600 - NOW.elapsed().as_secs()
}

fn simulation() -> FleetSimulation {
    let mut simulation = FleetSimulation::under(PolicyKind::Schedule, 0, 15);
    simulation.fleet.policy.schedule = vec![window(8, 18, 5), window(22, 2, 1)];
    simulation
}

#[test]
fn the_number_of_workers_goes_by_the_clock() {
    let mut simulation = simulation();
    let rows = [
        (1, 1),
        (2, 0),
        (7, 0),
        (8, 5),
        (17, 5),
        (18, 0),
        (22, 1),
        (24, 1),
        (26, 0),
        (32, 5),
    ];
    for (hour, workers) in rows {
        // The first plan finds demand at zero, which is to settle first.
        simulation.at(second_of(hour), 0);
        assert_eq!(
            simulation.at(second_of(hour) + 1, 0),
            workers,
            "{hour} o'clock"
        );
    }
}

#[test]
fn demand_outside_of_the_windows_gets_one_worker() {
    let mut simulation = simulation();
    assert_eq!(simulation.at(second_of(3), 50), 1);
    simulation.at(second_of(3) + 60, 0);
    assert_eq!(simulation.at(second_of(3) + 61, 0), 0);
    assert_eq!(
        simulation.at(second_of(9), 50),
        5,
        "not more than scheduled"
    );
}

#[test]
fn the_scaler_wakes_when_a_window_begins_or_ends_under_every_policy() {
    let mut simulation = simulation();
    simulation.at(second_of(2), 0);
    let plan = simulation.plan_at(second_of(2) + 1, 0);
    assert_eq!(plan.wake_at, Some(Timestamp::after_epoch(HOUR * 8)));
    simulation.fleet.policy.kind = PolicyKind::Step;
    let plan = simulation.plan_at(second_of(8), 0);
    assert_eq!(
        (plan.desired_workers, plan.wake_at),
        (5, Some(Timestamp::after_epoch(HOUR * 18)))
    );
}

/// The clock was set, or the machine was suspended, after the scaler's start.
#[test]
fn windows_follow_a_corrected_clock() {
    let mut fleet = Fleet::of(6).without_demand_for_ms(60_000);
    fleet.policy.kind = PolicyKind::Schedule;
    fleet.policy.schedule = vec![window(8, 18, 5)];
    assert_eq!(fleet.plan().desired_workers, 0);
    fleet.observation.wall_clock = Some(Timestamp::after_epoch(HOUR * 12));
    let plan = fleet.plan();
    assert_eq!((plan.desired_workers, plan.start.len()), (5, 5));
    assert_eq!(plan.wake_at, Some(NOW.after(HOUR * 6)));
}

#[test]
fn the_next_edge_of_a_window_may_be_tomorrow() {
    let policy = |schedule| Policy {
        schedule,
        ..Policy::default()
    };
    let noon = Timestamp::after_epoch(HOUR * (24 * 20_000 + 12));
    let rows = [
        (vec![], None),
        (vec![window(8, 12, 1)], Some(20)),
        (vec![window(8, 18, 1)], Some(6)),
        (vec![window(0, 24, 1)], Some(12)),
        (vec![window(9, 11, 1), window(10, 12, 1)], Some(21)),
    ];
    for (schedule, hours) in rows {
        let expected = hours.map(|hours: u32| noon.after(HOUR * hours));
        assert_eq!(
            policy(schedule.clone()).next_window_edge(noon),
            expected,
            "{schedule:?}"
        );
    }
}
