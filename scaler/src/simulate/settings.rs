//! What is assumed of EC2, the queue and the workers.

use std::time::Duration;

use crate::plan::Policy;

/// The parameters of a simulation. Durations that vary are lognormal, with a mean and a coefficient of variation.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub seed: u64,
    pub policy: Policy,
    /// How long a worker is taken up by one request: mean in seconds, coefficient of variation.
    pub service: (f64, f64),
    /// From the order to start to a ready worker: mean in seconds, coefficient of variation.
    pub boot: (f64, f64),
    /// From the order to stop to an instance that can be started.
    pub stop: Duration,
    /// How long a call to EC2 takes to have an effect.
    pub call: Duration,
    /// How long an order to a worker and its confirmation travel.
    pub handshake: Duration,
    /// The longest a worker waits for a message before it looks at its orders.
    pub receive_wait: Duration,
    pub describe_latency: Duration,
    pub count_latency: Duration,
    /// How much older than the question the queue's counters are.
    pub count_lag: Duration,
    /// After how long the job of a dead worker reappears.
    pub visibility_timeout: Duration,
    /// How often EC2 and the queue are asked.
    pub tick: Duration,
    /// Whether they are asked more often while an answer is awaited, as the real scaler does. Too dear for large fleets.
    pub keeps_pace: bool,
    /// The shortest time from one plan to the next.
    pub gather: Duration,
    /// The share of boots that never end in a ready worker.
    pub failing_boots: f64,
    /// The share of jobs that their worker dies with.
    pub deadly_jobs: f64,
    /// How many instances exist at the beginning, stopped.
    pub pool: u32,
    /// Size and refill a second of EC2's buckets for calls to start and for calls to launch.
    pub calls: (f64, f64),
    /// How long after the last arrival and the last answer the simulation, and the bill, goes on for workers that do
    /// not go.
    pub patience: Duration,
}

impl Default for Settings {
    /// As EC2 and the workers were measured; see docs/performance.md and docs/aws.md.
    fn default() -> Self {
        Self {
            seed: 1,
            policy: Policy::default(),
            service: (0.3, 0.5),
            boot: (20.0, 0.2),
            stop: Duration::from_secs(10),
            call: Duration::from_millis(300),
            handshake: Duration::from_millis(20),
            receive_wait: Duration::from_secs(1),
            describe_latency: Duration::from_millis(150),
            count_latency: Duration::from_millis(20),
            count_lag: Duration::from_millis(500),
            visibility_timeout: Duration::from_secs(10),
            tick: Duration::from_millis(500),
            keeps_pace: true,
            gather: Duration::from_millis(20),
            failing_boots: 0.0,
            deadly_jobs: 0.0,
            pool: 0,
            calls: (5.0, 2.0),
            patience: Duration::from_secs(600),
        }
    }
}
