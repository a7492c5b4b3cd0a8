//! Plans over random histories of a modelled cloud. What must never happen is checked at every step, in
//! [`Cloud::step`]; here the histories are made, and their ends are checked.

mod published;
pub mod simulated;

use std::time::Duration;

use proptest::prelude::*;

use crate::plan::fixtures::Fleet;
use crate::plan::{Bounds, Goal, Patience, Policy, PolicyKind, Prices};
use simulated::{Cloud, STEP};

#[derive(Debug, Clone)]
pub enum Event {
    Arrive(u64),
    Pause,
    LoseFront(bool),
    LoseQueue(bool),
    LoseEc2(bool),
    HangWorker(usize),
    BreakStream(usize),
    /// AWS says that it will take an instance away.
    Interrupt(usize),
    /// No worker's report gets to the scaler any more, or all do again.
    CutOff(bool),
    /// The queue's counters are zero for up to a minute, whatever it holds, or right again.
    BlindCounters(bool),
    /// What is being started never gets to run.
    GetStuck,
    /// What is launched is not listed any more, or everything is.
    LagLists(bool),
    RestartScaler,
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u64..30).prop_map(Event::Arrive),
        6 => Just(Event::Pause),
        1 => any::<bool>().prop_map(Event::LoseFront),
        1 => any::<bool>().prop_map(Event::LoseQueue),
        1 => any::<bool>().prop_map(Event::LoseEc2),
        1 => any::<usize>().prop_map(Event::HangWorker),
        1 => any::<usize>().prop_map(Event::BreakStream),
        1 => any::<usize>().prop_map(Event::Interrupt),
        1 => any::<bool>().prop_map(Event::CutOff),
        1 => any::<bool>().prop_map(Event::BlindCounters),
        1 => Just(Event::GetStuck),
        1 => any::<bool>().prop_map(Event::LagLists),
        1 => Just(Event::RestartScaler),
    ]
}

pub fn policy(
    kind: PolicyKind,
    min_workers: u32,
    more: u32,
    minimum: u64,
    warm_pool: u32,
) -> Policy {
    let seconds = Duration::from_secs;
    Policy {
        kind,
        // As the modelled workers are, so that hours of patience do not have to be modelled.
        goal: Goal {
            latency: seconds(2),
            service_time: Duration::from_millis(400),
            boot_time: seconds(2),
        },
        prices: Prices {
            minimum: seconds(minimum),
            ..Prices::default()
        },
        bounds: Bounds {
            min_workers,
            max_workers: min_workers + more,
            warm_pool,
            ..Bounds::default()
        },
        // So that a worker that hangs is found out soon.
        patience: Patience {
            boot_deadline: seconds(15),
            silence_deadline: seconds(5),
            ..Patience::default()
        },
        ..Fleet::none().policy
    }
}

#[derive(Debug, Clone)]
struct History {
    seed: u64,
    /// The shortest time that a start is billed for, in seconds.
    minimum: u64,
    warm_pool: u32,
    /// How many instances more than the minimum the budget pays for.
    affordable: Option<u32>,
    min_workers: u32,
    more: u32,
    /// What happens, and how many steps pass after it.
    events: Vec<(Event, u32)>,
}

prop_compose! {
    fn history()(
        seed in any::<u64>(),
        minimum in prop::sample::select(vec![0_u64, 4]),
        warm_pool in prop::sample::select(vec![0_u32, 0, 2]),
        affordable in prop::sample::select(vec![None, Some(1_u32), Some(3)]),
        min_workers in 0_u32..3,
        more in 1_u32..8,
        events in prop::collection::vec((event(), 1_u32..60), 1..30),
    ) -> History {
        History { seed, minimum, warm_pool, affordable, min_workers, more, events }
    }
}

/// Lets it happen, and then expects demand to be met and the fleet to return to its minimum.
fn live_through(kind: PolicyKind, history: &History) -> Result<(), TestCaseError> {
    let &History {
        minimum,
        warm_pool,
        affordable,
        min_workers: min,
        more,
        ..
    } = history;
    let mut policy = policy(kind, min, more, minimum, warm_pool);
    let price = policy.prices.per_hour;
    policy.bounds.budget_per_hour = affordable.map(|more| price * f64::from(min + more));
    let more = affordable.map_or(more, |affordable| affordable.min(more));
    let mut cloud = Cloud::new(policy, history.seed);
    for (event, steps) in &history.events {
        happen(&mut cloud, event);
        for _ in 0..*steps {
            cloud.step();
        }
    }
    cloud.recover();
    while cloud.was_just_cut_off() {
        cloud.step();
    }
    let settled = |cloud: &Cloud| {
        cloud.unanswered == 0
            && cloud.up() == min as usize
            && !cloud.has_hung_worker()
            && cloud
                .machines
                .iter()
                .all(|machine| !machine.leaving && !machine.is_stuck)
            && cloud.machines.len() >= (min + warm_pool.min(more)) as usize
    };
    // A hung worker takes the boot deadline to be found out, and its message as long again.
    let mut steps = 0;
    while !settled(&cloud) {
        cloud.step();
        steps += 1;
        prop_assert!(STEP * steps < Duration::from_secs(400), "{cloud:?}");
    }
    // It stays there.
    for _ in 0..150 {
        cloud.step();
        prop_assert!(settled(&cloud), "{cloud:?}");
    }
    Ok(())
}

proptest! {
    // PROPTEST_CASES may ask for more, as `make test` does.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1_000)))]

    #[test]
    fn whatever_happens_latency_meets_demand_and_returns_to_the_minimum(history in history()) {
        live_through(PolicyKind::Latency, &history)?;
    }

    #[test]
    fn whatever_happens_step_meets_demand_and_returns_to_the_minimum(history in history()) {
        live_through(PolicyKind::Step, &history)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(500)))]

    #[test]
    fn a_step_of_load_turns_the_fleet_around_once_at_most(
        seed in any::<u64>(),
        kind in prop::sample::select(vec![PolicyKind::Latency, PolicyKind::Step]),
        minimum in prop::sample::select(vec![0_u64, 4]),
        steps in prop::collection::vec(1_u64..80, 1..4),
    ) {
        let mut cloud = Cloud::new(policy(kind, 0, 8, minimum, 0), seed);
        for requests in steps {
            let before = cloud.reversals;
            cloud.arrive(requests);
            while cloud.unanswered > 0 || cloud.up() > 0 {
                cloud.step();
                prop_assert!(cloud.now.elapsed().as_secs() < 4_000, "{cloud:?}");
            }
            // From the way down before to the way up, and back down.
            prop_assert!(cloud.reversals - before <= 2, "{} reversals", cloud.reversals - before);
        }
    }
}

pub fn happen(cloud: &mut Cloud, event: &Event) {
    match *event {
        Event::Arrive(requests) => cloud.arrive(requests),
        Event::Pause => {}
        Event::LoseFront(lost) => cloud.front_is_lost = lost,
        Event::LoseQueue(lost) => cloud.queue_is_lost = lost,
        Event::LoseEc2(lost) => cloud.ec2_is_lost = lost,
        Event::HangWorker(pick) => {
            let mut workers: Vec<_> = cloud
                .machines
                .iter_mut()
                .filter_map(|it| it.worker.as_mut())
                .collect();
            if !workers.is_empty() {
                let pick = pick % workers.len();
                workers[pick].hung = true;
            }
        }
        Event::BreakStream(pick) => {
            if !cloud.machines.is_empty() {
                let pick = pick % cloud.machines.len();
                cloud.machines[pick].break_stream();
            }
        }
        Event::Interrupt(pick) => {
            if !cloud.machines.is_empty() {
                let pick = pick % cloud.machines.len();
                cloud.machines[pick].interrupt();
            }
        }
        Event::CutOff(is_cut_off) => cloud.cut_off(is_cut_off),
        Event::BlindCounters(are_blind) => cloud.blind_counters(are_blind),
        Event::GetStuck => cloud.get_stuck(),
        Event::LagLists(lag) => cloud.list_lags = lag,
        Event::RestartScaler => cloud.restart_scaler(),
    }
}
