//! Plans over random histories of the simulated cloud, carried out by the real planner and the real registry.
//!
//! - `scaled_cloud`: one step of time, one plan; `link`: the workers' streams.
//! - `invariants`: what is checked at every step. Here the histories are generated, and their ends are checked.
//! - `published`: histories under the published policies.

mod invariants;
mod link;
mod published;
pub mod scaled_cloud;

use std::time::Duration;

use proptest::prelude::*;

use crate::plan::fixtures::Fleet;
use crate::plan::{Bounds, Policy, PolicyKind, Prices, Targets, Timeouts};
use scaled_cloud::{STEP, ScaledCloud};

#[derive(Debug, Clone)]
pub enum HistoryEvent {
    Arrive(u64),
    /// A clip is split into frames.
    Clip(u64),
    Pause,
    LoseFront(bool),
    LoseQueue(bool),
    LoseEc2(bool),
    HangWorker(usize),
    BreakStream(usize),
    /// AWS announces that it will end an instance.
    Interrupt(usize),
    /// The operator chooses another image.
    ChangeImage,
    /// Cuts all workers off from the scaler, or reconnects them.
    CutOff(bool),
    /// The queue's counters are zero for up to a minute, or right again.
    BlindCounters(bool),
    /// Pending instances never run.
    GetStuck,
    /// EC2's list lacks launched instances, or is complete again.
    LagLists(bool),
    RestartScaler,
}

pub fn event() -> impl Strategy<Value = HistoryEvent> {
    prop_oneof![
        6 => (1_u64..30).prop_map(HistoryEvent::Arrive),
        2 => (1_u64..60).prop_map(HistoryEvent::Clip),
        6 => Just(HistoryEvent::Pause),
        1 => any::<bool>().prop_map(HistoryEvent::LoseFront),
        1 => any::<bool>().prop_map(HistoryEvent::LoseQueue),
        1 => any::<bool>().prop_map(HistoryEvent::LoseEc2),
        1 => any::<usize>().prop_map(HistoryEvent::HangWorker),
        1 => any::<usize>().prop_map(HistoryEvent::BreakStream),
        1 => any::<usize>().prop_map(HistoryEvent::Interrupt),
        1 => Just(HistoryEvent::ChangeImage),
        1 => any::<bool>().prop_map(HistoryEvent::CutOff),
        1 => any::<bool>().prop_map(HistoryEvent::BlindCounters),
        1 => Just(HistoryEvent::GetStuck),
        1 => any::<bool>().prop_map(HistoryEvent::LagLists),
        1 => Just(HistoryEvent::RestartScaler),
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
        // As the simulated workers.
        targets: Targets {
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
        // So that a hung worker is detected soon.
        timeouts: Timeouts {
            boot_deadline: seconds(15),
            silence_deadline: seconds(5),
            ..Timeouts::default()
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
    /// What happens, and how many steps follow.
    events: Vec<(HistoryEvent, u32)>,
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

/// Plays a history, and then expects demand to be met and the fleet to return to its minimum.
fn play(kind: PolicyKind, history: &History) -> Result<(), TestCaseError> {
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
    let mut cloud = ScaledCloud::new(policy, history.seed);
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
    let least = (min + warm_pool.min(more)) as usize;
    let settled = |cloud: &ScaledCloud| cloud.is_settled(min) && cloud.instances() >= least;
    // Detecting a hung worker takes the boot deadline; its message takes as long again.
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
    fn latency_meets_demand_and_returns_to_the_minimum(history in history()) {
        play(PolicyKind::Latency, &history)?;
    }

    #[test]
    fn step_meets_demand_and_returns_to_the_minimum(history in history()) {
        play(PolicyKind::Step, &history)?;
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
        let mut cloud = ScaledCloud::new(policy(kind, 0, 8, minimum, 0), seed);
        let began = cloud.cloud.now();
        for requests in steps {
            let before = cloud.reversals;
            cloud.arrive(requests);
            while cloud.cloud.unanswered() > 0 || cloud.cloud.up() > 0 {
                cloud.step();
                prop_assert!(cloud.cloud.now().since(began).as_secs() < 4_000, "{cloud:?}");
            }
            // From scale-in to scale-out, and back.
            prop_assert!(cloud.reversals - before <= 2, "{} reversals", cloud.reversals - before);
        }
    }
}

pub fn happen(cloud: &mut ScaledCloud, event: &HistoryEvent) {
    match *event {
        HistoryEvent::Arrive(requests) => cloud.arrive(requests),
        HistoryEvent::Clip(frames) => cloud.cloud.accept_frames(frames),
        HistoryEvent::Pause => {}
        HistoryEvent::LoseFront(lost) => cloud.cloud.faults.front_is_lost = lost,
        HistoryEvent::LoseQueue(lost) => cloud.cloud.faults.queue_is_lost = lost,
        HistoryEvent::LoseEc2(lost) => cloud.cloud.faults.ec2_is_lost = lost,
        HistoryEvent::HangWorker(pick) => {
            let machines = cloud.cloud.machines();
            let has_worker = |index: &usize| machines[*index].has_worker();
            let workers: Vec<_> = (0..machines.len()).filter(has_worker).collect();
            if !workers.is_empty() {
                cloud.cloud.hang(workers[pick % workers.len()]);
            }
        }
        HistoryEvent::BreakStream(pick) => cloud.break_stream(pick),
        HistoryEvent::Interrupt(pick) => {
            let machines = cloud.cloud.machines().len();
            if machines > 0 {
                cloud.cloud.interrupt(pick % machines);
            }
        }
        HistoryEvent::ChangeImage => cloud.cloud.change_image(),
        HistoryEvent::CutOff(is_cut_off) => cloud.cut_off(is_cut_off),
        HistoryEvent::BlindCounters(are_blind) => cloud.blind_counters(are_blind),
        HistoryEvent::GetStuck => cloud.cloud.get_stuck(),
        HistoryEvent::LagLists(lag) => cloud.cloud.faults.list_lags = lag,
        HistoryEvent::RestartScaler => cloud.restart_scaler(),
    }
}
