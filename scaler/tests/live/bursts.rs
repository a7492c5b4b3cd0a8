//! Bursts of demand in a cloud that throttles calls as AWS does.
//!
//! `MUSTER_BURSTS` sets their number; docs/development.md has the commands.

use std::time::Duration;

use localcloud::{Ec2Faults, RateLimits};
use platform::fleet::PowerState;
use proto::v1::{InstanceState, WorkerState};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::stage::{Stage, eventually};
use crate::wait::{until_listed, until_seen};
use crate::worker::Worker;

/// How often localcloud's metrics are read. That is not a call to EC2.
const POLL: Duration = Duration::from_millis(2);
/// Factor by which AWS has raised the account's limits on instances: the default of 2 started instances per second does
/// not permit 15 every second.
const RAISED: u32 = 20;
/// Shortest time between bursts: AWS's default of 2 start calls per second, not raised here, permits no more.
const BURST_INTERVAL: Duration = Duration::from_millis(600);
/// How many instances a new scaler assumes that AWS's default permits; see `scaler/src/execute/throttle.rs`.
const FIRST_INSTANCES: f64 = 99.0;
const INSTANCES_PER_SECOND: f64 = 2.0;

/// Measured times.
#[derive(Default)]
struct Figures {
    starts: Vec<Duration>,
    ends: Vec<Duration>,
    cycles: Vec<Duration>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_fifteen_take_one_start_call_each_and_are_never_throttled() {
    let mut limits = RateLimits::aws();
    for bucket in limits.resources.values_mut() {
        bucket.size *= RAISED;
        bucket.refill_per_second *= f64::from(RAISED);
    }
    let raised = RAISED.to_string();
    let stage = stage(
        limits,
        15,
        &["--policy", "step", "--ec2-request-limits", &raised],
    )
    .await;
    let (began, mut figures) = (Instant::now(), Figures::default());
    for burst in 1..=count(12) {
        eventually("it is time", async || {
            began.elapsed() >= BURST_INTERVAL * (burst - 1)
        })
        .await;
        figures.note(burst, cycle(&stage, burst, 100, 15).await);
    }
    figures.print("15 workers, limits on instances raised");
    assert_few_calls(&stage, count(12), 15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_awss_default_limits_is_never_throttled() {
    let stage = stage(RateLimits::aws(), 15, &["--policy", "step"]).await;
    let began = Instant::now();
    let mut figures = Figures::default();
    for burst in 1..=count(7) {
        let spent = f64::from(15 * burst);
        eventually("the limits have room for 15 more", async || {
            FIRST_INSTANCES + began.elapsed().as_secs_f64() * INSTANCES_PER_SECOND >= spent
        })
        .await;
        figures.note(burst, cycle(&stage, burst, 100, 15).await);
    }
    figures.print("15 workers, AWS's default limits");
    assert_few_calls(&stage, count(7), 15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_request_starts_a_worker_at_once_under_the_default_policy() {
    // The policy keeps a worker for as long as another boot would take, which is next to nothing here.
    let arguments = [
        "--policy",
        "latency",
        "--ec2-request-limits=none",
        "--boot-time=50ms",
    ];
    let stage = stage(RateLimits::default(), 1, &arguments).await;
    let mut figures = Figures::default();
    for burst in 1..=50 {
        figures.note(burst, cycle(&stage, burst, 1, 1).await);
    }
    figures.print("first_request_to_start_call: 1 worker, default policy, no limits");
    assert_few_calls(&stage, 50, 1).await;
    let median = percentile(&mut figures.starts, 50);
    assert!(median < Duration::from_millis(250), "{median:?}");
}

/// Returns the number of bursts: MUSTER_BURSTS, or `default`.
fn count(default: u32) -> u32 {
    std::env::var("MUSTER_BURSTS").map_or(default, |count| count.parse().unwrap())
}

/// Starts a scaler and waits until it knows a pool of stopped instances.
async fn stage(limits: RateLimits, pool: u32, arguments: &[&str]) -> Stage {
    let ec2 = Ec2Faults {
        limits,
        ..Ec2Faults::default()
    };
    let maximum = pool.to_string();
    let mut all = vec!["--billing-minimum=0s", "--max-workers", &maximum];
    all.extend(arguments);
    let mut stage = Stage::with_faults(ec2, &all).await;
    stage.create_queue().await;
    stage.prepare_stopped(pool).await;
    stage.start_scaler().await;
    until_seen(&stage, InstanceState::Stopped, pool as usize).await;
    stage
}

/// Raises demand until all workers are busy, and ends it until none runs. Returns the times until the start call, from the
/// end of demand until the last instance is stopped, and of the whole cycle.
async fn cycle(stage: &Stage, burst: u32, demand: u64, workers: u32) -> [Duration; 3] {
    let (began, all) = (Instant::now(), workers as usize);
    let (earlier_starts, earlier_stops) = (
        stage.calls("StartInstances").await,
        stage.calls("StopInstances").await,
    );
    let demanded = Instant::now();
    stage.demand(demand);
    promptly("they are started", async || {
        stage.calls("StartInstances").await > earlier_starts
    })
    .await;
    let start = demanded.elapsed();

    let (work, working) = watch::channel(true);
    let mut crew = JoinSet::new();
    for instance in stage.instances().await {
        let worker = Worker::attend(stage, &instance.id, WorkerState::Busy).await;
        crew.spawn(worker.run_busy(working.clone()));
    }
    until_seen(stage, InstanceState::Busy, all).await;
    until_listed(stage, PowerState::Running, all).await;
    assert_eq!(stage.calls("StopInstances").await, earlier_stops);

    let ended = Instant::now();
    stage.demand(0);
    // The replies are sent before the workers finish their last work.
    work.send_replace(false);
    let stopped = u64::from(burst) * u64::from(workers);
    promptly("they are ordered to stop", async || {
        stage.totals().await.stopped == stopped
    })
    .await;
    until_listed(stage, PowerState::Stopped, all).await;
    let end = ended.elapsed();
    crew.abort_all();
    while let Some(left) = crew.join_next().await {
        assert!(!left.unwrap_or(false), "a busy worker was left");
    }
    until_seen(stage, InstanceState::Stopped, all).await;
    [start, end, began.elapsed()]
}

/// Asserts that nothing was throttled or refused, each burst took one start call, and no busy worker was stopped.
async fn assert_few_calls(stage: &Stage, bursts: u32, workers: u32) {
    let metrics = stage.cloud.metrics().await;
    for line in metrics
        .lines()
        .filter(|line| line.contains(r#"service="ec2""#))
    {
        println!("{line}");
        assert!(line.contains(r#"status="200""#), "{line}");
    }
    assert_eq!(stage.calls("StartInstances").await, u64::from(bursts));
    let totals = stage.totals().await;
    let instances = u64::from(bursts) * u64::from(workers);
    assert_eq!((totals.started, totals.launched), (instances, 0));
    assert_eq!(
        (totals.busy_workers_stopped, totals.silent_workers_stopped),
        (0, 0)
    );
}

impl Figures {
    fn note(&mut self, burst: u32, [start, end, cycle]: [Duration; 3]) {
        self.starts.push(start);
        self.ends.push(end);
        self.cycles.push(cycle);
        if burst.is_multiple_of(50) {
            self.print(&format!("after {burst} bursts"));
        }
    }

    fn print(&mut self, title: &str) {
        println!("{title}: {} bursts", self.starts.len());
        for (name, durations) in [
            ("demand set -> StartInstances seen", &mut self.starts),
            ("demand 0 -> zero running", &mut self.ends),
            ("whole cycle", &mut self.cycles),
        ] {
            let (middle, high) = (percentile(durations, 50), percentile(durations, 99));
            println!(
                "  {name}: p50 {middle:.1?}, p99 {high:.1?}, longest {:.1?}",
                percentile(durations, 100)
            );
        }
    }
}

fn percentile(durations: &mut [Duration], percent: usize) -> Duration {
    durations.sort_unstable();
    durations[(durations.len() * percent).div_ceil(100).max(1) - 1]
}

/// Like [`eventually`], but polls more often, for timed conditions.
async fn promptly(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + crate::stage::TIMEOUT;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(POLL).await;
    }
}
