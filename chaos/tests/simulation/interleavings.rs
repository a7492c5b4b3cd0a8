//! Two fronts and three workers in any order of events: proptest chooses which of the next ones happens, and so how often
//! messages come twice, and come again because a visibility timeout passes.

use std::time::Duration;

use localcloud::SqsFaults;
use proptest::prelude::*;

use crate::clients::Answer;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::system::{Simulation, Trace};

/// Among how many events a choice is, and how far ahead they are.
const CHOICES: usize = 12;
const AHEAD: Duration = Duration::from_secs(10);
const WORKERS: usize = 3;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(256)))]

    #[test]
    fn any_interleaving_gives_each_client_the_answer_of_its_own_photo_once(
        seed in any::<u64>(),
        clients in 1_usize..8,
        max_jobs in 1_usize..4,
        duplicate in prop::sample::select(vec![0.0, 0.2, 0.6]),
        deliver_after_delete in prop::sample::select(vec![0.0, 0.3]),
        choices in prop::collection::vec(0_usize..CHOICES, 0..600),
    ) {
        let sqs = SqsFaults { duplicate, deliver_after_delete, ..SqsFaults::default() };
        let scenario = Scenario::of_interleavings(clients, max_jobs, sqs);
        let mut simulation = Simulation::with(seed, scenario, Random::new(seed), Trace::Off);
        simulation.schedule_clients();
        for _ in 0..WORKERS {
            simulation.add_ready_worker();
        }
        for choice in choices {
            let latest = simulation.now + AHEAD;
            let Some((at, event)) = simulation.event_queue.any(choice, CHOICES, latest) else {
                break;
            };
            simulation.happen(at, event);
            if let Some(what) = simulation.take_violation() {
                return Err(TestCaseError::fail(what));
            }
        }
        // The rest happens in its order.
        simulation.scenario.calm_at = simulation.now;
        let ended = simulation.run();
        prop_assert!(ended.is_ok(), "{ended:?}");
        for client in &simulation.clients {
            let name = simulation.photos[client.photo].name.as_ref();
            let has_answer = match &client.answer {
                Some(Answer::Name { name: given, .. }) => Some(given) == name,
                // The excuses of an error were checked when it came.
                Some(Answer::Error { .. }) => true,
                Some(Answer::Disconnected) | None => false,
            };
            prop_assert!(has_answer, "{client:?}");
        }
    }
}
