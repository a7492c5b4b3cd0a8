//! The worker's side of the scale-in handshake, with the test as scaler.

use std::pin::Pin;
use std::time::Duration;

use platform::shutdown::CancellationToken;
use proto::v1::scaler_server::{Scaler, ScalerServer};
use proto::v1::worker_order::Order;
use proto::v1::{
    Cordon, GetStatusRequest, ListDecisionsRequest, ListDecisionsResponse, PauseRequest,
    ResumeRequest, ScalerStatus, SetBoundsRequest, Uncordon, WatchStatusRequest, WorkerOrder,
    WorkerReport, WorkerState,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::support::{Bench, photo};

/// A scaler that hands each worker's stream to the test while it leads, and refuses it otherwise.
#[derive(Debug)]
struct TestScaler {
    streams: mpsc::Sender<Session>,
    leads: watch::Receiver<bool>,
    /// Whether EC2 lists the worker's instance.
    lists: watch::Receiver<bool>,
    refused: watch::Sender<u32>,
}

#[derive(Debug)]
pub struct Session {
    /// The metadata `authorization`.
    authorization: Option<String>,
    pub reports: Streaming<WorkerReport>,
    orders: mpsc::Sender<Result<WorkerOrder, Status>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Scaler for TestScaler {
    type WatchStatusStream = Answers<ScalerStatus>;
    type AttendStream = ReceiverStream<Result<WorkerOrder, Status>>;

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        Err(Status::unimplemented("not part of the test"))
    }

    async fn watch_status(
        &self,
        _: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        Err(Status::unimplemented("not part of the test"))
    }

    async fn list_decisions(
        &self,
        _: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        Err(Status::unimplemented("not part of the test"))
    }

    async fn set_bounds(
        &self,
        _: Request<SetBoundsRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        Err(Status::unimplemented("not part of the test"))
    }

    async fn pause(&self, _: Request<PauseRequest>) -> Result<Response<ScalerStatus>, Status> {
        Err(Status::unimplemented("not part of the test"))
    }

    async fn resume(&self, _: Request<ResumeRequest>) -> Result<Response<ScalerStatus>, Status> {
        Err(Status::unimplemented("not part of the test"))
    }

    async fn attend(
        &self,
        request: Request<Streaming<WorkerReport>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        if !*self.leads.borrow() {
            return Err(Status::unavailable("another scaler leads"));
        }
        if !*self.lists.borrow() {
            self.refused.send_modify(|refused| *refused += 1);
            return Err(Status::not_found("EC2 does not list it yet"));
        }
        let (orders, outgoing) = mpsc::channel(4);
        let authorization = request.metadata().get("authorization");
        let session = Session {
            authorization: authorization.map(|it| it.to_str().unwrap().to_owned()),
            reports: request.into_inner(),
            orders,
        };
        self.streams.send(session).await.unwrap();
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

#[derive(Debug)]
pub struct Control {
    pub url: String,
    pub sessions: mpsc::Receiver<Session>,
    /// Whether it leads. It does at first.
    leads: watch::Sender<bool>,
    /// Whether EC2 lists the worker's instance. It does at first.
    lists: watch::Sender<bool>,
    /// How often the worker was refused because EC2 does not list it.
    refused: watch::Receiver<u32>,
    _ready: watch::Sender<bool>,
}

pub async fn scaler() -> Control {
    let (listener, url) = testkit::listen().await;
    let (streams, sessions) = mpsc::channel(4);
    let (ready, readiness) = watch::channel(true);
    let (leads, leading) = watch::channel(true);
    let (lists, listing) = watch::channel(true);
    let (refusing, refused) = watch::channel(0);
    tokio::spawn(platform::grpc::serve(
        listener,
        platform::grpc::ServerOptions::unrestricted(),
        readiness,
        CancellationToken::new(),
        &[],
        |routes| {
            routes.add_service(ScalerServer::new(TestScaler {
                streams,
                leads: leading,
                lists: listing,
                refused: refusing,
            }));
        },
    ));
    Control {
        url,
        sessions,
        leads,
        lists,
        refused,
        _ready: ready,
    }
}

impl Session {
    pub async fn order(&self, sequence: u64, order: Order) {
        self.orders
            .send(Ok(WorkerOrder {
                sequence,
                order: Some(order),
            }))
            .await
            .unwrap();
    }

    /// Reads reports until one has `state` and takes order `sequence` into account. Returns the states before.
    pub async fn until(&mut self, state: WorkerState, sequence: u64) -> Vec<WorkerState> {
        let mut seen = Vec::new();
        let reading = async {
            while let Some(report) = self.reports.next().await {
                let report = report.unwrap();
                assert_eq!(report.instance_id, "i-test");
                if report.state() == state && report.order_sequence == sequence {
                    return;
                }
                seen.push(report.state());
            }
            panic!("the worker left");
        };
        let deadline = Duration::from_secs(60);
        tokio::time::timeout(deadline, reading)
            .await
            .unwrap_or_else(|_| panic!("never {state:?}"));
        seen
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordoned_worker_takes_no_work_until_it_is_uncordoned() {
    let bench = Bench::start().await;
    let mut control = scaler().await;
    let worker = bench.worker(&["--scaler", &control.url]);
    let mut session = control.sessions.recv().await.unwrap();
    session.until(WorkerState::Idle, 0).await;

    session.order(1, Order::Cordon(Cordon {})).await;
    session.until(WorkerState::Cordoned, 1).await;
    bench.submit("waits.jpg", &photo("madonna")).await;
    // A worker that took work would report that before it reports again that it is cordoned.
    for _ in 0..2 {
        let seen = session.until(WorkerState::Cordoned, 1).await;
        assert_eq!(seen, []);
    }
    assert_eq!(bench.requests.counters().await.unwrap().visible, 1);

    session.order(2, Order::Uncordon(Uncordon {})).await;
    session.until(WorkerState::Busy, 2).await;
    bench.reply().await;
    session.until(WorkerState::Idle, 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_confirms_a_cordon_while_it_boots() {
    let bench = Bench::start().await;
    let mut control = scaler().await;
    let worker = bench.worker(&["--scaler", &control.url]);
    let mut session = control.sessions.recv().await.unwrap();
    session.order(1, Order::Cordon(Cordon {})).await;
    let seen = session.until(WorkerState::Cordoned, 1).await;
    assert!(!seen.contains(&WorkerState::Busy), "{seen:?}");
    worker.stop().await;
}

/// The reports are busy, then cordoned, never cordoned in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_confirms_a_cordon_only_after_its_job() {
    let bench = Bench::start().await;
    let mut control = scaler().await;
    let worker = bench.worker(&["--scaler", &control.url]);
    let mut session = control.sessions.recv().await.unwrap();
    session.until(WorkerState::Idle, 0).await;
    bench.submit("first.jpg", &photo("madonna")).await;
    session.until(WorkerState::Busy, 0).await;
    session.order(1, Order::Cordon(Cordon {})).await;
    session.until(WorkerState::Cordoned, 1).await;
    assert_eq!(
        bench.replies.counters().await.unwrap().visible,
        1,
        "the reply came before"
    );
    bench.drained().await;
    worker.stop().await;
}

/// Sequence numbers count within a stream: an old confirmation must not confirm a new scaler's order.
#[tokio::test(flavor = "multi_thread")]
async fn a_cordon_survives_a_scaler_that_restarts_but_its_sequence_number_does_not() {
    let bench = Bench::start().await;
    let mut control = scaler().await;
    let worker = bench.worker(&["--scaler", &control.url]);
    let mut session = control.sessions.recv().await.unwrap();
    session.order(7, Order::Cordon(Cordon {})).await;
    session.until(WorkerState::Cordoned, 7).await;
    drop(session);
    let mut session = control.sessions.recv().await.unwrap();
    session.until(WorkerState::Cordoned, 0).await;
    session.order(1, Order::Uncordon(Uncordon {})).await;
    session.until(WorkerState::Idle, 1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_attends_the_scaler_that_leads() {
    let bench = Bench::start().await;
    let (mut first, mut second) = (scaler().await, scaler().await);
    first.leads.send_replace(false);
    let unreachable = "http://127.0.0.1:1";
    let worker = bench.worker(&[
        "--scaler",
        &format!("{unreachable},{},{}", first.url, second.url),
    ]);
    let mut session = second.sessions.recv().await.unwrap();
    session.until(WorkerState::Idle, 0).await;
    session.order(1, Order::Cordon(Cordon {})).await;
    session.until(WorkerState::Cordoned, 1).await;

    first.leads.send_replace(true);
    second.leads.send_replace(false);
    drop(session);
    let mut session = first.sessions.recv().await.unwrap();
    session.until(WorkerState::Cordoned, 0).await;
    session.order(1, Order::Uncordon(Uncordon {})).await;
    session.until(WorkerState::Idle, 1).await;
    worker.stop().await;
}

/// A scaler knows an instance that another one launched only when EC2 lists it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_sends_the_token_and_retries_until_its_instance_is_listed() {
    let bench = Bench::start().await;
    let mut control = scaler().await;
    control.lists.send_replace(false);
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "of-the-fleet\n").unwrap();
    let worker = bench.worker(&[
        "--scaler",
        &control.url,
        "--fleet-token-file",
        token.path().to_str().unwrap(),
    ]);
    control.refused.wait_for(|times| *times >= 3).await.unwrap();
    control.lists.send_replace(true);
    let mut session = control.sessions.recv().await.unwrap();
    let shown = session.authorization.as_deref();
    assert_eq!(shown, Some("Bearer of-the-fleet"));
    session.until(WorkerState::Idle, 0).await;
    worker.stop().await;
}
