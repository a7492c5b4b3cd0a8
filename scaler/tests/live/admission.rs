//! Which workers may attend.

use std::sync::Arc;

use platform::access::Authenticator;
use platform::fleet::Market;
use platform::shutdown::CancellationToken;
use platform::tls::PeerTlsArgs;
use platform::token::Token;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::scaler_server::ScalerServer;
use proto::v1::{InstanceState, Interruption, WorkerOrder, WorkerReport, WorkerState};
use scaler::clock::Clock;
use scaler::decision_log::{ActivePolicy, DecisionLog};
use scaler::fleet::{FleetToken, WorkerRegistry};
use scaler::lease;
use scaler::rpc::{MOST_REQUEST_BYTES, Operators, ScalerService};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::stage::{Stage, eventually, proven_by};
use crate::wait::{start_one, until_seen};
use crate::worker::Worker;

fn report(id: &str, state: WorkerState, order_sequence: u64) -> WorkerReport {
    WorkerReport {
        instance_id: id.to_owned(),
        state: state.into(),
        order_sequence,
        ..WorkerReport::default()
    }
}

/// The service alone. It knows one instance, `i-1`, and admits one worker at a time.
struct Service {
    scaler: ScalerClient<Channel>,
    registry: WorkerRegistry,
    _ready: watch::Sender<bool>,
    _running: tokio_util::sync::DropGuard,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (clock, shutdown) = (Clock::start(), CancellationToken::new());
        let registry = WorkerRegistry::new(clock);
        registry.admit(&["i-1".into()]);
        let service = ScalerService {
            active: watch::Sender::new(ActivePolicy::default()),
            operators: Operators {
                access: Authenticator::open_to_all(),
                token: None,
            },
            fleet_token: FleetToken::given(token()),
            market: Market::OnDemand,
            registry: registry.clone(),
            streams: Arc::new(Semaphore::new(1)),
            log: DecisionLog::new(ActivePolicy::default()),
            leadership: lease::disabled(clock).0,
            shutdown: shutdown.clone(),
        };
        let (ready, readiness) = watch::channel(true);
        let running = shutdown.clone().drop_guard();
        tokio::spawn(platform::grpc::serve(
            listener,
            platform::grpc::ServerOptions::unrestricted(),
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
            registry,
            _ready: ready,
            _running: running,
        }
    }

    /// Opens a stream with a first report. Returns the orders, and the sender of further reports.
    async fn attend(
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
async fn all_reports_of_a_stream_name_one_instance() {
    let service = Service::start().await;
    service.registry.admit(&["i-2".into()]);
    let first = report("i-1", WorkerState::Busy, 0);
    let (mut orders, reports) = service.attend(first).await.unwrap();
    let other = report("i-2", WorkerState::Cordoned, 0);
    reports.send(other).await.unwrap();
    let refused = orders.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(service.registry.get(&"i-2".into()), None);
}

#[tokio::test]
async fn an_instance_outside_the_fleet_is_refused_until_it_is_known() {
    let service = Service::start().await;
    let refused = service
        .attend(report("i-7", WorkerState::Idle, 0))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert_eq!(service.registry.get(&"i-7".into()), None);
    service.registry.admit(&["i-7".into()]);
    // The refused stream's permit is back.
    let admitted = service.attend(report("i-7", WorkerState::Idle, 0)).await;
    assert!(admitted.is_ok());
}

#[tokio::test]
async fn a_first_report_that_acknowledges_an_order_is_refused() {
    let service = Service::start().await;
    let false_report = WorkerReport {
        interruption: Some(Interruption::default()),
        ..report("i-1", WorkerState::Cordoned, 1)
    };
    let refused = service.attend(false_report).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(service.registry.get(&"i-1".into()), None);
}

#[tokio::test]
async fn a_large_report_is_refused() {
    let service = Service::start().await;
    let large = "i".repeat(MOST_REQUEST_BYTES);
    let refused = service
        .attend(report(&large, WorkerState::Idle, 0))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
}

#[tokio::test]
async fn a_stream_beyond_the_limit_is_refused() {
    let service = Service::start().await;
    let first = service
        .attend(report("i-1", WorkerState::Idle, 0))
        .await
        .unwrap();
    let refused = service
        .attend(report("i-1", WorkerState::Idle, 0))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    drop(first);
    eventually("there is a free permit", async || {
        service
            .attend(report("i-1", WorkerState::Idle, 0))
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_caller_without_the_token_cannot_replace_a_worker() {
    let stage = Stage::set(&[]).await;
    let id = start_one(&stage).await;
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
    until_seen(&stage, InstanceState::Busy, 1).await;
    assert_eq!(stage.calls("StopInstances").await, 0);
}

#[tokio::test]
async fn the_token_in_the_user_data_is_valid_for_every_later_scaler() {
    let mut stage = Stage::set(&["--lease-time", "10m"]).await;
    let id = start_one(&stage).await;
    eventually("its process runs", async || stage.has_process(&id)).await;
    let user_data = stage.user_data(&id);
    let (variable, token) = user_data.trim().split_once('=').unwrap();
    assert_eq!(variable, "MUSTER_FLEET_TOKEN");
    stage.stop_scaler().await;
    stage.start_scaler().await;
    let token = Token::parse(token).unwrap();
    let _worker = Worker::attend_by(&token, &stage, &id, WorkerState::Busy).await;
    until_seen(&stage, InstanceState::Busy, 1).await;
}
