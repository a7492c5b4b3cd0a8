//! What a seed is about: the load, the fleet, and the faults.

use std::time::Duration;

use localcloud::SqsFaults;
use scaler_plan::{Bounds, KeepIdle, Policy, PolicyKind, Prices, Targets, Timeouts};

use crate::event::Time;
use crate::faults::Fault;
use crate::random::Random;

#[derive(Debug)]
pub struct Scenario {
    pub fronts: usize,
    /// Whether a scaler runs, and workers attend it.
    pub has_scaler: bool,
    /// When each client sends its photo.
    pub arrivals: Vec<Time>,
    /// How long front lets a client wait.
    pub deadline: Duration,
    pub visibility_timeout: Duration,
    pub max_jobs: usize,
    pub policy: Policy,
    /// Whether faults happen. Without them each photo is answered by its name, and each job is received once.
    pub has_faults: bool,
    /// Whether messages are delivered again all the same.
    pub redelivers: bool,
    pub sqs: SqsFaults,
    /// The probability that the response to a call is lost, though it took effect.
    pub lost_responses: f64,
    /// The probability that EC2 refuses a call.
    pub refused_calls: f64,
    pub faults: Vec<(Time, Fault)>,
    /// When the faults end.
    pub calm_at: Time,
    /// From the call that starts an instance until its worker runs.
    pub boot: (u64, u64),
    /// How long EC2 does not list a launched instance.
    pub list_lag: Duration,
}

const SECOND: Duration = Duration::from_secs(1);

impl Scenario {
    pub fn of(random: &mut Random) -> Self {
        let has_faults = !random.chance(0.1);
        let calm_at = if has_faults { 25 * SECOND } else { Time::ZERO };
        let mut scenario = Self {
            fronts: 1 + random.below(2),
            has_scaler: true,
            arrivals: arrivals(random),
            deadline: if has_faults {
                random.pick(&[15, 40, 120]) * SECOND
            } else {
                600 * SECOND
            },
            visibility_timeout: random.pick(&[3, 4, 8]) * SECOND,
            max_jobs: random.pick(&[1, 1, 2, 4]),
            policy: policy(random),
            has_faults,
            redelivers: has_faults,
            sqs: SqsFaults::default(),
            lost_responses: 0.0,
            refused_calls: 0.0,
            faults: Vec::new(),
            calm_at,
            boot: random.pick(&[(500, 2_000), (1_000, 5_000), (2_000, 12_000)]),
            list_lag: random.pick(&[0, 0, 2, 8]) * SECOND,
        };
        if has_faults {
            scenario.add_faults(random);
        }
        scenario
    }

    fn add_faults(&mut self, random: &mut Random) {
        let rare = |random: &mut Random, most: f64| {
            let happens = random.chance(0.5);
            if happens { most } else { 0.0 }
        };
        self.sqs = SqsFaults {
            counter_lag_ms: random.pick(&[0, 0, 500, 5_000, 20_000]),
            duplicate: rare(random, 0.1),
            deliver_after_delete: rare(random, 0.1),
            empty_receive: rare(random, 0.3),
        };
        self.lost_responses = rare(random, 0.05);
        self.refused_calls = rare(random, 0.2);
        for _ in 0..random.below(9) {
            let at = random.millis(500, 24_000);
            self.faults.push((at, Fault::any(random)));
        }
    }

    /// Two fronts and three workers without a scaler, for interleavings: nothing fails, but messages come twice.
    pub fn of_interleavings(clients: usize, max_jobs: usize, sqs: SqsFaults) -> Self {
        let mut random = Random::new(0);
        Self {
            fronts: 2,
            has_scaler: false,
            arrivals: vec![Time::ZERO; clients],
            deadline: 1_000_000 * SECOND,
            visibility_timeout: 3 * SECOND,
            max_jobs,
            sqs,
            has_faults: false,
            redelivers: true,
            calm_at: Time::ZERO,
            faults: Vec::new(),
            lost_responses: 0.0,
            refused_calls: 0.0,
            ..Self::of(&mut random)
        }
    }
}

/// A few bursts with gaps, in which the fleet shrinks.
fn arrivals(random: &mut Random) -> Vec<Time> {
    let mut arrivals = Vec::new();
    let mut burst = random.millis(0, 500);
    for _ in 0..1 + random.below(3) {
        let spread = random.pick(&[50, 500, 3_000]);
        for _ in 0..1 + random.below(7) {
            arrivals.push(burst + random.millis(0, spread));
        }
        burst += random.millis(3_000, 12_000);
    }
    arrivals
}

fn policy(random: &mut Random) -> Policy {
    let min_workers = random.pick(&[0, 0, 1, 2]);
    Policy {
        kind: random.pick(&[PolicyKind::Latency, PolicyKind::Step]),
        bounds: Bounds {
            min_workers,
            max_workers: min_workers.max(1) + random.below(3) as u32,
            warm_pool: random.pick(&[0, 0, 1]),
            ..Bounds::default()
        },
        targets: Targets {
            latency: 2 * SECOND,
            service_time: Duration::from_millis(400),
            boot_time: 2 * SECOND,
        },
        prices: Prices {
            minimum: Duration::ZERO,
            ..Prices::default()
        },
        timeouts: Timeouts {
            idle_time: SECOND,
            keep_idle: KeepIdle::AtMost(2 * SECOND),
            silence_deadline: 5 * SECOND,
            boot_deadline: 20 * SECOND,
            leftover_timeout: 5 * SECOND,
            ..Timeouts::default()
        },
        ..Policy::default()
    }
}
