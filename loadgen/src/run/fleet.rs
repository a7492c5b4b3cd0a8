//! The scaler's view of a run: demand, workers and cost, by its stream `WatchStatus`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use platform::access::called_with;
use platform::token::Token;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{InstanceState, ScalerStatus, WatchStatusRequest};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::report::rounded;
use crate::target::TargetArgs;

/// The most points that are kept. When there are more, every second one is dropped.
const MAX_POINTS: usize = 20_000;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const FIRST_STATUS_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Watches the scaler until it is ended.
#[derive(Debug)]
pub struct FleetWatch {
    points: Arc<Mutex<Vec<FleetPoint>>>,
    task: JoinHandle<()>,
}

/// What the scaler saw at one time. The run begins at 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct FleetPoint {
    pub at_s: f64,
    /// Front's requests without an answer.
    pub unanswered: Option<u64>,
    pub wanted: u32,
    /// Of these, workers run that are ready.
    pub running: usize,
    /// Started and not ready.
    pub booting: usize,
    /// Dollars since the scaler started.
    pub spent: f64,
}

/// The workers of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FleetReport {
    /// From the first request to the first worker that is ready.
    pub first_worker_s: Option<f64>,
    pub workers_max: usize,
    /// From the first request to the most workers ready.
    pub workers_max_s: Option<f64>,
    /// From the last answer to no worker running or starting.
    pub scale_in_s: Option<f64>,
    /// What the run cost, by the scaler's count.
    pub dollars: f64,
    pub points: Vec<FleetPoint>,
}

/// The stream of a scaler that has responded.
#[derive(Debug)]
pub struct Connected {
    source: Source,
    stream: tonic::Streaming<ScalerStatus>,
}

impl Connected {
    /// Calls the scaler at `url` with the key and certificates of `target`.
    ///
    /// # Errors
    /// When the scaler does not respond.
    pub async fn open(
        url: &str,
        target: &TargetArgs,
        expected: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let channel = platform::grpc::channel(url, &target.tls)
            .with_context(|| format!("--scaler {url:?} cannot be called"))?;
        let source = Source {
            client: ScalerClient::new(channel),
            key: target.key.key()?,
            interval: (expected.unwrap_or_default() / MAX_POINTS as u32).max(SHORTEST_INTERVAL),
        };
        let stream = tokio::time::timeout(FIRST_STATUS_WITHIN, source.watch())
            .await
            .ok()
            .transpose()
            .with_context(|| format!("the scaler at {url} refuses the call"))?
            .with_context(|| {
                format!("the scaler does not respond at {url}; give its address with --scaler")
            })?;
        Ok(Self { source, stream })
    }
}

impl FleetWatch {
    /// Watches the scaler during a run that begins at `start`.
    #[must_use]
    pub fn start(connected: Connected, start: Instant) -> Self {
        let Connected { source, mut stream } = connected;
        let points = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&points);
        let task = tokio::spawn(async move {
            loop {
                while let Ok(Some(status)) = stream.message().await {
                    let point = FleetPoint::of(&status, start.elapsed());
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    keep(&mut kept, point);
                }
                // A scaler that restarts leaves a gap in the charts.
                loop {
                    tokio::time::sleep(SHORTEST_INTERVAL).await;
                    if let Ok(again) = source.watch().await {
                        stream = again;
                        break;
                    }
                }
            }
        });
        Self { points, task }
    }

    /// Waits until no worker runs or starts, but not longer than `limit` nor after `stop`, and returns the report.
    pub async fn end(
        self,
        last_answer: Option<Duration>,
        limit: Duration,
        stop: &CancellationToken,
    ) -> FleetReport {
        let last_answer = last_answer.map_or(0.0, |it| it.as_secs_f64());
        let idle = async {
            while !self
                .points()
                .last()
                .is_some_and(|it| it.is_idle_after(last_answer))
            {
                tokio::time::sleep(POLL).await;
            }
        };
        // Without it, the report has no time of it.
        let _ = stop
            .run_until_cancelled(tokio::time::timeout(limit, idle))
            .await;
        self.task.abort();
        FleetReport::of(std::mem::take(&mut *self.points()), last_answer)
    }

    fn points(&self) -> std::sync::MutexGuard<'_, Vec<FleetPoint>> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Source {
    client: ScalerClient<Channel>,
    key: Option<Token>,
    interval: Duration,
}

impl Source {
    async fn watch(&self) -> Result<tonic::Streaming<ScalerStatus>, tonic::Status> {
        let message = WatchStatusRequest {
            interval: self.interval.try_into().ok(),
            ..WatchStatusRequest::default()
        };
        let request = called_with(self.key.as_ref(), message);
        let mut client = self.client.clone();
        Ok(client.watch_status(request).await?.into_inner())
    }
}

/// Keeps the first point, whose cost is the baseline, and the newest.
fn keep(points: &mut Vec<FleetPoint>, newest: FleetPoint) {
    if points.len() >= MAX_POINTS {
        let mut is_kept = false;
        points.retain(|_| {
            is_kept = !is_kept;
            is_kept
        });
    }
    points.push(newest);
}

impl FleetPoint {
    fn of(status: &ScalerStatus, at: Duration) -> Self {
        let mut point = Self {
            at_s: rounded(at.as_secs_f64()),
            ..Self::default()
        };
        point.wanted = status.plan.as_ref().map_or(0, |it| it.desired_workers);
        let Some(observation) = &status.observation else {
            return point;
        };
        point.unanswered = observation.unanswered;
        point.spent = observation.billing.as_ref().map_or(0.0, |it| it.spent);
        point.booting = observation.launching as usize;
        for instance in &observation.instances {
            match instance.state() {
                InstanceState::Pending | InstanceState::Booting => point.booting += 1,
                InstanceState::Idle
                | InstanceState::Busy
                | InstanceState::Draining
                | InstanceState::Cordoned => point.running += 1,
                InstanceState::Unspecified | InstanceState::Stopped | InstanceState::Stopping => {}
            }
        }
        point
    }

    fn is_idle_after(&self, time: f64) -> bool {
        self.at_s >= time && self.running + self.booting == 0
    }
}

impl FleetReport {
    fn of(points: Vec<FleetPoint>, last_answer: f64) -> Self {
        let workers_max = points.iter().map(|it| it.running).max().unwrap_or(0);
        let reached = |workers: usize| {
            let first = points.iter().find(|it| it.running >= workers.max(1));
            first.map(|it| it.at_s)
        };
        let spent = |point: Option<&FleetPoint>| point.map_or(0.0, |it| it.spent);
        let idle = points.iter().find(|it| it.is_idle_after(last_answer));
        Self {
            first_worker_s: reached(1),
            workers_max,
            workers_max_s: reached(workers_max),
            scale_in_s: idle.map(|it| rounded(it.at_s - last_answer)),
            dollars: (spent(points.last()) - spent(points.first())).max(0.0),
            points,
        }
    }
}

impl fmt::Display for FleetReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "workers   ")?;
        match (self.first_worker_s, self.workers_max_s) {
            (Some(first), Some(most)) => write!(
                formatter,
                "first ready after {first:.2} s, {} after {most:.2} s",
                self.workers_max
            )?,
            _ => write!(formatter, "none was ready")?,
        }
        match self.scale_in_s {
            Some(time) => write!(formatter, ", none {time:.2} s after the last answer")?,
            None => write!(formatter, ", some still run")?,
        }
        write!(formatter, ", {:.4} dollars", self.dollars)
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{Billing, Instance, Observation};

    use super::*;

    #[test]
    fn workers_are_counted_by_their_state() {
        let states = [
            InstanceState::Stopped,
            InstanceState::Pending,
            InstanceState::Booting,
            InstanceState::Idle,
            InstanceState::Busy,
            InstanceState::Draining,
            InstanceState::Cordoned,
            InstanceState::Stopping,
        ];
        let instance = |state| Instance {
            state: i32::from(state),
            ..Instance::default()
        };
        let status = ScalerStatus {
            observation: Some(Observation {
                unanswered: Some(7),
                launching: 3,
                instances: states.map(instance).to_vec(),
                billing: Some(Billing {
                    spent: 0.5,
                    ..Billing::default()
                }),
                ..Observation::default()
            }),
            ..ScalerStatus::default()
        };
        let point = FleetPoint::of(&status, Duration::from_millis(1_500));
        assert_eq!((point.running, point.booting), (4, 5));
        assert_eq!((point.at_s, point.unanswered), (1.5, Some(7)));
        assert_eq!(point.spent, 0.5);
    }

    #[test]
    fn a_long_run_still_sees_the_last_worker_stop() {
        let mut points = Vec::new();
        let running = |number: u32| FleetPoint {
            at_s: f64::from(number),
            running: 2,
            spent: f64::from(number),
            ..FleetPoint::default()
        };
        for number in 0..100_000 {
            keep(&mut points, running(number));
        }
        let idle = FleetPoint {
            at_s: 100_000.0,
            spent: 100_000.0,
            ..FleetPoint::default()
        };
        keep(&mut points, idle);
        assert!(points.len() <= MAX_POINTS, "{}", points.len());
        let report = FleetReport::of(points, 99_990.0);
        assert_eq!(report.scale_in_s, Some(10.0));
        assert_eq!(report.dollars, 100_000.0, "from the first point on");
    }

    #[test]
    fn times_and_cost_come_from_the_points() {
        let point = |at_s, running, booting, spent| FleetPoint {
            at_s,
            running,
            booting,
            spent,
            ..FleetPoint::default()
        };
        let report = FleetReport::of(
            vec![
                point(-0.1, 0, 0, 1.0),
                point(0.2, 0, 4, 1.0),
                point(0.5, 2, 2, 1.1),
                point(0.9, 4, 0, 1.2),
                point(3.0, 1, 0, 1.4),
                point(3.5, 0, 0, 1.5),
            ],
            2.0,
        );
        assert_eq!(report.first_worker_s, Some(0.5));
        assert_eq!((report.workers_max, report.workers_max_s), (4, Some(0.9)));
        assert_eq!(report.scale_in_s, Some(1.5));
        assert_eq!(report.dollars, 0.5);
        let none = FleetReport::of(Vec::new(), 0.0);
        assert!(none.to_string().contains("none was ready"));
    }
}
