//! The gRPC service `muster.v1.Scaler`.

mod status;

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use platform::shutdown::CancellationToken;
use proto::v1::scaler_server::Scaler;
use proto::v1::{GetStatusRequest, ScalerStatus, WatchStatusRequest, WorkerOrder, WorkerReport};
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

use crate::attend::Attendance;
use crate::clock::Clock;
use crate::lease::Leadership;
use crate::plan::{InstanceId, Policy};
use crate::reconcile::{Board, Decision};

/// Answers from the loop's board, and takes in the workers' streams.
#[derive(Debug)]
pub struct ScalerService {
    pub clock: Clock,
    pub policy: Policy,
    pub attendance: Attendance,
    pub board: Board,
    pub leadership: Leadership,
    pub shutdown: CancellationToken,
}

type AnswerStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Scaler for ScalerService {
    type WatchStatusStream = AnswerStream<ScalerStatus>;
    type AttendStream = AnswerStream<WorkerOrder>;

    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        let latest = Arc::clone(&self.board.latest.borrow());
        Ok(Response::new(self.status(&latest)))
    }

    async fn watch_status(
        &self,
        _request: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        // Subscribing first makes sure that no decision falls between the two.
        let changes = self.board.changes.subscribe();
        let latest = Arc::clone(&self.board.latest.borrow());
        let (clock, policy) = (self.clock, self.policy.clone());
        let decisions = futures::stream::once(async move { latest }).chain(following(changes));
        let statuses = decisions.map(move |it| Ok(status::encode(&it, &policy, &clock)));
        let until = self.shutdown.clone().cancelled_owned();
        Ok(Response::new(Box::pin(statuses.take_until(until))))
    }

    async fn attend(
        &self,
        request: Request<Streaming<WorkerReport>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        if let Some(why) = self.leadership.clone().settled().await {
            return Err(Status::unavailable(format!("standing by: {why}")));
        }
        let (orders, ordered) = watch::channel(None);
        let hearing = hear(self.attendance.clone(), request.into_inner(), orders);
        // Dropping what it hears with ends the stream, so that the worker looks for the scaler that leads now.
        let lost = self.leadership.clone().lost();
        let hearing = async move {
            tokio::select! {
                () = hearing => {}
                () = lost => {}
            }
        };
        tokio::spawn(self.shutdown.clone().run_until_cancelled_owned(hearing));
        // The stream ends when the roster drops the sender: the worker left, or came back on another stream.
        let orders = WatchStream::new(ordered).filter_map(async |order| order.map(Ok));
        let until = self.shutdown.clone().cancelled_owned();
        Ok(Response::new(Box::pin(orders.take_until(until))))
    }
}

impl ScalerService {
    fn status(&self, decision: &Decision) -> ScalerStatus {
        status::encode(decision, &self.policy, &self.clock)
    }
}

/// Hears a worker's reports out.
async fn hear(
    attendance: Attendance,
    mut reports: Streaming<WorkerReport>,
    orders: watch::Sender<Option<WorkerOrder>>,
) {
    let Ok(Some(first)) = reports.message().await else {
        return;
    };
    let id = InstanceId::from(first.instance_id.as_str());
    tracing::debug!(instance = %id, state = first.state().as_str_name(), "a worker attends");
    let session = attendance.join(&id, orders);
    let mut next = Some(first);
    while let Some(report) = next {
        if report.instance_id != id.as_str() || !session.report(&report) {
            break;
        }
        next = reports.message().await.unwrap_or_default();
    }
    tracing::debug!(instance = %id, "a worker's stream ended");
}

/// A watcher that is too slow misses decisions rather than holding up the loop.
fn following(
    changes: broadcast::Receiver<Arc<Decision>>,
) -> impl Stream<Item = Arc<Decision>> + Send {
    futures::stream::unfold(changes, async |mut changes| {
        loop {
            match changes.recv().await {
                Ok(decision) => return Some((decision, changes)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}
