//! A scaler whose decisions the test makes.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use platform::grpc::ServerOptions;
use proto::v1::scaler_server::{Scaler, ScalerServer};
use proto::v1::{
    GetStatusRequest, ListDecisionsRequest, ListDecisionsResponse, PauseRequest, ResumeRequest,
    ScalerStatus, SetBoundsRequest, WatchStatusRequest, WorkerOrder, WorkerReport,
};
use testkit::listen;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// A scaler that runs until it is stopped or dropped.
pub struct SetScaler {
    pub url: String,
    pub address: SocketAddr,
    decisions: Decisions,
    shutdown: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
}

/// What it decided, and who asked.
#[derive(Clone)]
struct Decisions {
    made: Arc<Mutex<Vec<ScalerStatus>>>,
    following: broadcast::Sender<ScalerStatus>,
    /// The header `authorization` of each call.
    callers: Arc<Mutex<Vec<Option<String>>>>,
    /// Its calls are refused with this.
    refusal: Arc<Mutex<Option<Status>>>,
    shutdown: CancellationToken,
}

impl SetScaler {
    /// Has made one decision.
    pub async fn start() -> Self {
        let (listener, _) = listen().await;
        Self::serve(listener).await
    }

    /// Listens where an earlier one has listened.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = platform::admin::bind(address).await.unwrap();
        Self::serve(listener).await
    }

    async fn serve(listener: TcpListener) -> Self {
        let shutdown = CancellationToken::new();
        let decisions = Decisions {
            made: Arc::default(),
            following: broadcast::Sender::new(4096),
            callers: Arc::default(),
            refusal: Arc::default(),
            shutdown: shutdown.clone(),
        };
        let address = listener.local_addr().unwrap();
        let service = ScalerServer::new(decisions.clone());
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move {
            let (_ready, readiness) = watch::channel(true);
            let options = ServerOptions::unrestricted();
            platform::grpc::serve(listener, options, readiness, stop, &[], |routes| {
                routes.add_service(service);
            })
            .await
        });
        let scaler = Self {
            url: format!("http://{address}"),
            address,
            decisions,
            shutdown,
            serving,
        };
        scaler.decide(decision(1, "the first"));
        scaler
    }

    pub fn decide(&self, decision: ScalerStatus) {
        let mut made = self.decisions.made.lock().unwrap();
        made.push(decision.clone());
        // Sending fails without a watcher.
        let _ = self.decisions.following.send(decision);
    }

    pub fn refuse(&self, refusal: Option<Status>) {
        *self.decisions.refusal.lock().unwrap() = refusal;
    }

    /// Returns how many streams are open.
    pub fn watchers(&self) -> usize {
        self.decisions.following.receiver_count()
    }

    pub fn callers(&self) -> Vec<Option<String>> {
        self.decisions.callers.lock().unwrap().clone()
    }

    /// Ends it, with all its streams.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

/// A decision as the scaler makes it.
pub fn decision(sequence: u64, reason: &str) -> ScalerStatus {
    ScalerStatus {
        at: Some(prost_types::Timestamp {
            seconds: 1_800_000_000 + sequence as i64,
            nanos: 0,
        }),
        sequence,
        observation: Some(proto::v1::Observation {
            unanswered: Some(sequence),
            ..proto::v1::Observation::default()
        }),
        plan: Some(proto::v1::Plan {
            policy: "step".to_owned(),
            reason: reason.to_owned(),
            ..proto::v1::Plan::default()
        }),
        ..ScalerStatus::default()
    }
}

impl Decisions {
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let caller = request.metadata().get("authorization");
        let caller = caller.map(|value| value.to_str().unwrap().to_owned());
        self.callers.lock().unwrap().push(caller);
        let refusal = self.refusal.lock().unwrap().clone();
        refusal.map_or(Ok(()), Err)
    }
}

type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Scaler for Decisions {
    type WatchStatusStream = ReplyStream<ScalerStatus>;
    type AttendStream = ReplyStream<WorkerOrder>;

    /// Sends every decision, more than the real one would.
    async fn watch_status(
        &self,
        request: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        self.check(&request)?;
        let request = request.into_inner();
        assert!(!request.every);
        // One stream for the display, and one for all decisions that change something.
        let is_display = request.interval.is_some();
        assert!(
            request
                .interval
                .is_none_or(|interval| interval.nanos == 100_000_000)
        );
        let following = self.following.subscribe();
        let last = self.made.lock().unwrap().last().cloned();
        let following = futures::stream::unfold(following, async |mut following| {
            Some((following.recv().await.ok()?, following))
        });
        let following = following.filter(move |status: &ScalerStatus| {
            let changes = status.plan.as_ref().is_some_and(|plan| plan.launch > 0);
            std::future::ready(is_display || changes)
        });
        let statuses = futures::stream::iter(last).chain(following).map(Ok);
        let until = self.shutdown.clone().cancelled_owned();
        Ok(Response::new(Box::pin(statuses.take_until(until))))
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        self.check(&request)?;
        let limit = request.into_inner().limit as usize;
        let made = self.made.lock().unwrap();
        let decisions = made[made.len().saturating_sub(limit)..].to_vec();
        Ok(Response::new(ListDecisionsResponse { decisions }))
    }

    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        Err(Status::unimplemented("viewers do not poll"))
    }

    async fn set_bounds(
        &self,
        _request: Request<SetBoundsRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        Err(Status::unimplemented("viewers change nothing"))
    }

    async fn pause(
        &self,
        _request: Request<PauseRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        Err(Status::unimplemented("viewers change nothing"))
    }

    async fn resume(
        &self,
        _request: Request<ResumeRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        Err(Status::unimplemented("viewers change nothing"))
    }

    async fn attend(
        &self,
        _request: Request<Streaming<WorkerReport>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        Err(Status::unimplemented("there are no workers"))
    }
}
