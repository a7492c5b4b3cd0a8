//! Samples the workers and prints the table while requests are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use platform::process::print;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::cloud::{Cloud, Instances};
use super::table::{HEADER, Row};
use crate::report::Timeline;

/// Interval of the counts of the workers.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(150);
/// Interval of the rows.
const ROW_INTERVAL: Duration = Duration::from_secs(1);

/// Tasks that count the workers and print the table.
#[derive(Debug)]
pub struct Watch {
    start: Instant,
    stop: CancellationToken,
    samples: watch::Receiver<WorkerCount>,
    sampling: JoinHandle<Timeline>,
    printing: JoinHandle<()>,
}

/// A count of the workers.
#[derive(Debug, Clone, Copy, Default)]
struct WorkerCount {
    /// Time of the call, since the start.
    called_at: Duration,
    workers: Instances,
}

impl Watch {
    pub fn start(cloud: &Arc<Cloud>, answered: &Arc<AtomicU64>, start: Instant) -> Self {
        let stop = CancellationToken::new();
        let (publish, samples) = watch::channel(WorkerCount::default());
        let sampling = tokio::spawn(sample(Arc::clone(cloud), publish, start, stop.clone()));
        let table = Table {
            cloud: Arc::clone(cloud),
            answered: Arc::clone(answered),
            samples: samples.clone(),
            start,
        };
        let printing = tokio::spawn(table.print(stop.clone()));
        Self {
            start,
            stop,
            samples,
            sampling,
            printing,
        }
    }

    /// Waits until no worker runs or starts. Returns the time of that count, or `None` after `limit`.
    pub async fn wait_until_idle(&self, limit: Duration) -> Option<Duration> {
        let from = self.start.elapsed();
        let mut samples = self.samples.clone();
        let is_idle = |sample: &WorkerCount| {
            sample.called_at >= from && sample.workers == Instances::default()
        };
        let idle = timeout(limit, samples.wait_for(is_idle)).await;
        idle.ok()?.ok().map(|sample| sample.called_at)
    }

    /// Stops both tasks after a last row. No call is in flight afterwards.
    pub async fn stop(self) -> Timeline {
        self.stop.cancel();
        let (timeline, printed) = tokio::join!(self.sampling, self.printing);
        printed.expect("printing the table does not panic");
        timeline.expect("counting the workers does not panic")
    }
}

async fn sample(
    cloud: Arc<Cloud>,
    publish: watch::Sender<WorkerCount>,
    start: Instant,
    stop: CancellationToken,
) -> Timeline {
    let mut timeline = Timeline::default();
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let called_at = start.elapsed();
        // A count that fails is left out of the timeline.
        if let Ok(workers) = cloud.workers().await {
            timeline.record(called_at, workers.running);
            publish.send_replace(WorkerCount { called_at, workers });
        }
    }
    timeline
}

/// The sources of the rows.
#[derive(Debug)]
struct Table {
    cloud: Arc<Cloud>,
    answered: Arc<AtomicU64>,
    samples: watch::Receiver<WorkerCount>,
    start: Instant,
}

impl Table {
    /// A standard output that cannot be written fails the command at its end.
    async fn print(self, stop: CancellationToken) {
        let _ = print(format_args!("\n{HEADER}"));
        let mut ticks = interval(ROW_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.print_row().await;
        }
        self.print_row().await;
    }

    async fn print_row(&self) {
        let time = self.start.elapsed();
        // Read before the buckets are counted, so that a row has at least as many results as responses.
        let answered = self.answered.load(Ordering::Relaxed);
        let contents = self.cloud.contents().await.ok();
        let workers_running = self.samples.borrow().workers.running;
        let row = Row {
            time,
            contents,
            workers_running,
            answered,
        };
        let _ = print(row);
    }
}
