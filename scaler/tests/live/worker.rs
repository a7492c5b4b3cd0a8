//! Workers that only attend and report.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use platform::fleet::PowerState;
use platform::shutdown::CancellationToken;
use platform::token::Token;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::worker_order::Order;
use proto::v1::{WorkerOrder, WorkerReport, WorkerState};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::DropGuard;
use tonic::{Code, Streaming};

use crate::stage::{Stage, TIMEOUT, proven_by};

/// One worker's stream. The test sends its reports.
pub struct Worker {
    id: String,
    reports: mpsc::Sender<WorkerReport>,
    orders: Streaming<WorkerOrder>,
    /// Of the newest order that was received.
    pub sequence: u64,
}

impl Worker {
    /// Attends with a first report and the fleet's token.
    pub async fn attend(stage: &Stage, id: &str, state: WorkerState) -> Self {
        let token = stage.fleet_token().await;
        Self::attend_by(&token, stage, id, state).await
    }

    /// Attends with the given token. Retries while the scaler does not know the instance.
    pub async fn attend_by(token: &Token, stage: &Stage, id: &str, state: WorkerState) -> Self {
        let first = WorkerReport {
            instance_id: id.to_owned(),
            state: state.into(),
            ..Default::default()
        };
        // Waits for a scaler that is starting.
        stage.status().await;
        let mut client = ScalerClient::new(stage.scaler.clone());
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        loop {
            let (reports, outgoing) = mpsc::channel(16);
            reports.send(first.clone()).await.unwrap();
            let stream = proven_by(token, ReceiverStream::new(outgoing));
            match client.attend(stream).await {
                Ok(orders) => {
                    return Self {
                        id: id.to_owned(),
                        reports,
                        orders: orders.into_inner(),
                        sequence: 0,
                    };
                }
                Err(refused) => {
                    assert_eq!(refused.code(), Code::NotFound, "{refused}");
                    assert!(tokio::time::Instant::now() < deadline, "{refused}");
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn report(&self, state: WorkerState) {
        assert!(self.try_report(state).await, "the stream lives");
    }

    /// Reports, and returns whether the stream is open.
    async fn try_report(&self, state: WorkerState) -> bool {
        let report = WorkerReport {
            instance_id: self.id.clone(),
            state: state.into(),
            completed: 0,
            order_sequence: self.sequence,
            interruption: None,
        };
        self.reports.send(report).await.is_ok()
    }

    /// Waits for the next order, and returns whether it is a cordon order.
    pub async fn is_cordoned(&mut self) -> bool {
        let next = tokio::time::timeout(crate::stage::TIMEOUT, self.orders.message());
        let order = next
            .await
            .expect("an order comes")
            .unwrap()
            .expect("the stream lives");
        self.sequence = order.sequence;
        matches!(order.order, Some(Order::Cordon(_)))
    }

    /// Waits for the scaler to end the stream.
    pub async fn wait_for_end(&mut self) {
        let ended = async { while let Ok(Some(_)) = self.orders.message().await {} };
        let ended = tokio::time::timeout(crate::stage::TIMEOUT, ended).await;
        ended.expect("the stream ends");
    }

    /// Is busy until `work` is done, then obeys orders, until the scaler ends the stream. Returns whether it was busy then.
    pub async fn run_busy(mut self, mut work: watch::Receiver<bool>) -> bool {
        let (mut is_cordoned, mut is_busy) = (false, true);
        let mut beat = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                order = self.orders.message() => {
                    let Ok(Some(order)) = order else { return is_busy };
                    self.sequence = order.sequence;
                    is_cordoned = matches!(order.order, Some(Order::Cordon(_)));
                }
                Ok(()) = work.changed() => is_busy = *work.borrow_and_update(),
                _ = beat.tick() => {}
            }
            let state = match (is_busy, is_cordoned) {
                (true, _) => WorkerState::Busy,
                (false, true) => WorkerState::Cordoned,
                (false, false) => WorkerState::Idle,
            };
            if !self.try_report(state).await {
                return is_busy;
            }
        }
    }

    /// Reports idle at every order and every 200 ms, and obeys orders, until the scaler ends the stream.
    pub async fn run_idle(mut self) {
        let mut state = WorkerState::Idle;
        let mut beat = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                order = self.orders.message() => {
                    let Ok(Some(order)) = order else { return };
                    self.sequence = order.sequence;
                    let cordoned = matches!(order.order, Some(Order::Cordon(_)));
                    state = if cordoned { WorkerState::Cordoned } else { WorkerState::Idle };
                }
                _ = beat.tick() => {}
            }
            if !self.try_report(state).await {
                return;
            }
        }
    }
}

/// Starts a scaler with a request queue, and runs idle workers as [`run_workers`] does.
pub async fn stage_with_workers(arguments: &[&str]) -> (Arc<Stage>, DropGuard) {
    let stage = Arc::new(Stage::set(arguments).await);
    stage.create_queue().await;
    let workers = run_workers(&stage);
    (stage, workers)
}

/// Runs an idle worker on every running instance, until the returned guard is dropped.
pub fn run_workers(stage: &Arc<Stage>) -> DropGuard {
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    let stage = Arc::clone(stage);
    tokio::spawn(ended.run_until_cancelled_owned(async move {
        let mut workers: HashMap<String, tokio::task::JoinHandle<()>> = HashMap::new();
        loop {
            let instances = stage.instances().await;
            let runs = |id: &str| {
                instances
                    .iter()
                    .any(|it| it.id == id && it.state == PowerState::Running)
            };
            workers.retain(|id, worker| {
                if !runs(id) {
                    worker.abort();
                }
                runs(id) && !worker.is_finished()
            });
            for instance in instances
                .iter()
                .filter(|it| it.state == PowerState::Running && stage.has_process(&it.id))
            {
                if !workers.contains_key(&instance.id) {
                    let worker = Worker::attend(&stage, &instance.id, WorkerState::Idle).await;
                    workers.insert(instance.id.clone(), tokio::spawn(worker.run_idle()));
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    guard
}
