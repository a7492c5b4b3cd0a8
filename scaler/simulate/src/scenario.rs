use std::time::Duration;

use scaler_plan::pace::GATHER;
use scaler_plan::{Bounds, Policy, PolicyKind, Targets};

/// The most workers of the large day.
pub const DAY_WORKERS: u32 = 10_000;

/// The policy, and what is assumed of EC2, the queue and the workers. Durations that vary are lognormal, with a mean in
/// seconds and a coefficient of variation.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub policy: Policy,
    /// How long a worker is occupied by one request.
    pub service: (f64, f64),
    /// From the call that starts an instance to a ready worker.
    pub boot: (f64, f64),
    /// From the call that stops an instance until it can be started.
    pub stop: (f64, f64),
    /// How long after the call a launched instance exists.
    pub launch: Duration,
    /// How long an order to a worker and its confirmation take.
    pub handshake: Duration,
    /// The longest that a worker waits for a message before it reads its orders.
    pub receive_wait: Duration,
    pub describe_latency: Duration,
    pub count_latency: Duration,
    /// How far the queue's counters lag.
    pub count_lag: Duration,
    /// After how long the job of a dead worker reappears, at the latest: front's default. Workers extend it every third.
    pub visibility_timeout: Duration,
    /// How often EC2 and the queue are polled.
    pub tick: Duration,
    /// Whether they are polled more often while a change is awaited, as by the real scaler. Too slow for large fleets.
    pub adaptive_polling: bool,
    /// The shortest time from one plan to the next.
    pub debounce: Duration,
    /// The share of boots that never lead to a ready worker.
    pub failing_boots: f64,
    /// The share of jobs that kill their worker.
    pub deadly_jobs: f64,
    /// Frames of a clip that is posted at the beginning; 0: none.
    pub clip_frames: u64,
    /// How many instances exist at the beginning, stopped.
    pub pool: u32,
    /// Capacity and refill a second of EC2's token buckets, one for starts and one for launches.
    pub calls: (f64, f64),
    /// How long after the last arrival and the last reply the simulation, and the bill, continues while workers stay up.
    pub rest_timeout: Duration,
}

impl Scenario {
    /// The large day: requests take 5 s each, which occupies 9,260 workers at noon. Plans are made every 2 s only. That is
    /// below the gap from which the scaler assumes that it was held up.
    #[must_use]
    pub fn large_fleet(seed: u64) -> Self {
        const TICK: Duration = Duration::from_secs(2);
        let service = 5.0;
        let policy = Policy {
            bounds: Bounds {
                max_workers: DAY_WORKERS,
                ..Bounds::default()
            },
            targets: Targets {
                latency: Duration::from_secs(20),
                service_time: Duration::from_secs_f64(service),
                ..Targets::default()
            },
            ..Policy::default()
        };
        Self {
            seed,
            policy,
            service: (service, 0.5),
            tick: TICK,
            adaptive_polling: false,
            debounce: TICK,
            pool: DAY_WORKERS,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn with_kind(&self, kind: PolicyKind) -> Self {
        let mut scenario = self.clone();
        scenario.policy.kind = kind;
        scenario
    }
}

impl Default for Scenario {
    /// As EC2 and the workers were measured; see docs/performance.md and docs/aws.md.
    fn default() -> Self {
        Self {
            seed: 1,
            policy: Policy::default(),
            service: (0.3, 0.5),
            boot: (20.0, 0.2),
            stop: (10.0, 0.2),
            launch: Duration::from_millis(300),
            handshake: Duration::from_millis(20),
            receive_wait: Duration::from_secs(1),
            describe_latency: Duration::from_millis(150),
            count_latency: Duration::from_millis(20),
            count_lag: Duration::from_millis(500),
            visibility_timeout: Duration::from_secs(7),
            tick: Duration::from_millis(500),
            adaptive_polling: true,
            debounce: GATHER,
            failing_boots: 0.0,
            deadly_jobs: 0.0,
            clip_frames: 0,
            pool: 0,
            calls: (5.0, 2.0),
            rest_timeout: Duration::from_secs(600),
        }
    }
}
