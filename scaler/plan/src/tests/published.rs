//! What all policies have in common.

use proptest::prelude::*;

use super::fleet_simulation::FleetSimulation;
use crate::fixtures::least;
use crate::{InstanceState, PolicyKind};

#[test]
fn a_replaced_policy_starts_afresh() {
    let mut simulation = FleetSimulation::under(PolicyKind::Kpa, 0, 15);
    simulation.at(0, 10);
    simulation.fleet.policy.kind = PolicyKind::Step;
    simulation.through(1..=100, 0);
    simulation.fleet.policy.kind = PolicyKind::Kpa;
    assert_eq!(simulation.at(101, 0), 0, "the panic is forgotten");
}

#[test]
fn without_front_and_queue_nothing_changes() {
    for kind in PolicyKind::ALL {
        let mut simulation = FleetSimulation::under(kind, 4, 15);
        simulation.through(0..=1, 4);
        let before = simulation.plan_at(2, 4).desired_workers;
        simulation.lose(true, true);
        for second in 3..1_000 {
            let plan = simulation.plan_at(second, 0);
            assert!(
                plan.cordon.is_empty() && plan.stop.is_empty(),
                "{kind:?} {plan:?}"
            );
            assert!(plan.desired_workers >= before.min(4), "{kind:?} {plan:?}");
        }
    }
}

#[test]
fn messages_that_a_restarted_front_forgot_get_a_worker_under_every_policy() {
    for kind in PolicyKind::ALL {
        let mut simulation = FleetSimulation::under(kind, 0, 15).with_forgotten_messages(3);
        let wanted = simulation.through(0..=250, 0);
        assert!(wanted.last() > Some(&0), "{kind:?}");
    }
}

#[test]
fn without_front_the_queues_counters_stand_in() {
    for kind in [PolicyKind::Keda, PolicyKind::Kpa] {
        let (mut told, mut counted) = (
            FleetSimulation::under(kind, 0, 15),
            FleetSimulation::under(kind, 0, 15),
        );
        counted.lose(true, false);
        for second in 0..200 {
            assert_eq!(told.at(second, 8), counted.at(second, 8), "{kind:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(64)))]

    /// [`FleetSimulation::plan_at`] checks the limits at each step, and that planning again changes nothing.
    #[test]
    fn every_policy_ends_at_its_minimum(
        kind in prop::sample::select(PolicyKind::ALL.to_vec()),
        min in 0_u32..3,
        more in 1_u32..8,
        up in 0_usize..8,
        boot in 0_u64..40,
        demands in prop::collection::vec((0_u64..60, 1_u64..90), 1..12),
    ) {
        let max = min + more;
        let mut simulation = FleetSimulation::under(kind, up.min(max as usize), max)
            .with_min_workers(min)
            .booting_for_seconds(boot);
        let mut second = 0;
        for (demand, seconds) in demands {
            for _ in 0..seconds {
                simulation.at(second, demand);
                second += 1;
            }
        }
        // 5 minutes of warm-up, and 15 datapoints one minute apart.
        let wanted = simulation.through(second..=second + 1_300, 0);
        prop_assert_eq!(wanted.last(), Some(&least(kind, min)));
        let up = simulation.fleet.observation.instances.iter().filter(|it| {
            !matches!(it.state, InstanceState::Stopped | InstanceState::Stopping)
        });
        prop_assert_eq!(up.count(), least(kind, min) as usize);
    }

    #[test]
    fn every_policy_starts_a_worker_while_there_is_demand(
        kind in prop::sample::select(PolicyKind::ALL.to_vec()),
        demand in 1_u64..60,
        quiet in 0_u64..100,
    ) {
        let mut simulation = FleetSimulation::under(kind, 0, 15);
        simulation.through(0..=quiet, 0);
        let wanted = simulation.through(quiet + 1..=quiet + 181, demand);
        prop_assert!(wanted.last() > Some(&0));
    }
}
