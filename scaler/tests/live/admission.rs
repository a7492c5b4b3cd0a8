//! Who may attend.

use std::sync::Arc;

use platform::access::Access;
use platform::fleet::{Market, PowerState};
use platform::shutdown::CancellationToken;
use platform::tls::PeerTlsArgs;
use platform::token::Token;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::scaler_server::ScalerServer;
use proto::v1::{InstanceState, Interruption, WorkerOrder, WorkerReport, WorkerState};
use scaler::access::Operators;
use scaler::attend::Attendance;
use scaler::board::{Board, Settings};
use scaler::clock::Clock;
use scaler::fleet_token::FleetToken;
use scaler::lease;
use scaler::service::{MOST_REQUEST_BYTES, ScalerService};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::stage::{Stage, eventually, proven_by};
use crate::worker::Worker;

fn report(id: &str, state: WorkerState, order_sequence: u64) -> WorkerReport {
    WorkerReport {
        instance_id: id.to_owned(),
        state: state.into(),
        order_sequence,
        ..WorkerReport::default()
    }
}

/// The service alone, which knows one instance, `i-1`, and lets one worker attend at a time.
struct Door {
    scaler: ScalerClient<Channel>,
    attendance: Attendance,
    _ready: watch::Sender<bool>,
    _open: tokio_util::sync::DropGuard,
}

impl Door {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (clock, shutdown) = (Clock::start(), CancellationToken::new());
        let attendance = Attendance::new(clock);
        attendance.admit(&["i-1".into()]);
        let service = ScalerService {
            settings: watch::Sender::new(Settings::default()),
            operators: Operators {
                access: Access::anybody(),
                token: None,
            },
            fleet_token: FleetToken::given(token()),
            market: Market::OnDemand,
            attendance: attendance.clone(),
            streams: Arc::new(Semaphore::new(1)),
            board: Board::new(Settings::default()),
            leadership: lease::off(clock).0,
            shutdown: shutdown.clone(),
        };
        let (ready, readiness) = watch::channel(true);
        let open = shutdown.clone().drop_guard();
        tokio::spawn(platform::grpc::serve(
            listener,
            platform::grpc::Door::open(),
            readiness,
            shutdown,
            &[],
            |routes| {
                let service = ScalerServer::new(service);
                routes.add_service(service.max_decoding_message_size(MOST_REQUEST_BYTES));
            },
        ));
        Self {
            scaler: ScalerClient::new(
                platform::grpc::channel(&url, &PeerTlsArgs::default()).unwrap(),
            ),
            attendance,
            _ready: ready,
            _open: open,
        }
    }

    /// A stream that begins with this report, and the sender of others.
    async fn enter(
        &self,
        first: WorkerReport,
    ) -> Result<(Streaming<WorkerOrder>, mpsc::Sender<WorkerReport>), Status> {
        let (reports, outgoing) = mpsc::channel(16);
        reports.send(first).await.unwrap();
        let stream = proven_by(&token(), ReceiverStream::new(outgoing));
        let orders = self.scaler.clone().attend(stream).await?;
        Ok((orders.into_inner(), reports))
    }
}

fn token() -> Token {
    Token::parse("of-the-fleet").unwrap()
}

#[tokio::test]
async fn a_stream_is_of_the_instance_that_it_began_with() {
    let door = Door::open().await;
    door.attendance.admit(&["i-2".into()]);
    let first = report("i-1", WorkerState::Busy, 0);
    let (mut orders, reports) = door.enter(first).await.unwrap();
    let other = report("i-2", WorkerState::Cordoned, 0);
    reports.send(other).await.unwrap();
    let refused = orders.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(door.attendance.get(&"i-2".into()), None);
}

#[tokio::test]
async fn an_instance_of_another_fleet_is_refused_and_let_in_once_it_is_known() {
    let door = Door::open().await;
    let refused = door
        .enter(report("i-7", WorkerState::Idle, 0))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert_eq!(door.attendance.get(&"i-7".into()), None);
    door.attendance.admit(&["i-7".into()]);
    // The refused stream's permit is back.
    let let_in = door.enter(report("i-7", WorkerState::Idle, 0)).await;
    assert!(let_in.is_ok());
}

#[tokio::test]
async fn a_first_report_that_confirms_an_order_is_refused() {
    let door = Door::open().await;
    let liar = WorkerReport {
        interruption: Some(Interruption::default()),
        ..report("i-1", WorkerState::Cordoned, 1)
    };
    let refused = door.enter(liar).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(door.attendance.get(&"i-1".into()), None);
}

#[tokio::test]
async fn a_large_report_is_refused() {
    let door = Door::open().await;
    let large = "i".repeat(MOST_REQUEST_BYTES);
    let refused = door
        .enter(report(&large, WorkerState::Idle, 0))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
}

#[tokio::test]
async fn one_stream_too_many_is_refused() {
    let door = Door::open().await;
    let first = door
        .enter(report("i-1", WorkerState::Idle, 0))
        .await
        .unwrap();
    let refused = door
        .enter(report("i-1", WorkerState::Idle, 0))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    drop(first);
    eventually("there is room again", async || {
        door.enter(report("i-1", WorkerState::Idle, 0))
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test]
async fn nobody_without_the_token_takes_a_workers_place() {
    let stage = Stage::set(&[]).await;
    stage.demand(1);
    eventually("one runs", async || {
        stage.count(PowerState::Running).await == 1
    })
    .await;
    let id = stage.instances().await[0].id.clone();
    let worker = Worker::attend(&stage, &id, WorkerState::Busy).await;
    let stranger = || tokio_stream::iter([report(&id, WorkerState::Cordoned, 0)]);
    let wrong = proven_by(&Token::parse("guessed").unwrap(), stranger());
    for request in [Request::new(stranger()), wrong] {
        let refused = ScalerClient::new(stage.scaler.clone())
            .attend(request)
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    }
    worker.report(WorkerState::Busy).await;
    eventually("it is busy", async || {
        stage.seen(InstanceState::Busy).await == 1
    })
    .await;
    assert_eq!(stage.calls("StopInstances").await, 0);
}

#[tokio::test]
async fn what_an_instance_learned_at_its_launch_is_good_for_every_later_scaler() {
    let mut stage = Stage::set(&["--lease-time", "10m"]).await;
    stage.demand(1);
    eventually("one runs", async || {
        stage.count(PowerState::Running).await == 1
    })
    .await;
    let id = stage.instances().await[0].id.clone();
    eventually("its process runs", async || stage.has_process(&id)).await;
    let user_data = stage.user_data(&id);
    let (variable, token) = user_data.trim().split_once('=').unwrap();
    assert_eq!(variable, "MUSTER_FLEET_TOKEN");
    stage.stop_scaler().await;
    stage.start_scaler().await;
    let token = Token::parse(token).unwrap();
    let _worker = Worker::attend_by(&token, &stage, &id, WorkerState::Busy).await;
    eventually("it is busy", async || {
        stage.seen(InstanceState::Busy).await == 1
    })
    .await;
}
