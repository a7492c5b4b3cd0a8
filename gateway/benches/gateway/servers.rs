//! The gateway's program, and stand-ins for front and scaler.

use std::net::SocketAddr;
use std::time::Duration;

use platform::grpc::ServerOptions;
use platform::shutdown::CancellationToken;
use proto::v1::recognizer_server::{Recognizer, RecognizerServer};
use proto::v1::{
    Alternative, Estimate, Estimates, GetResultRequest, Instance, InstanceState, Plan,
    QueueCounters, Recognition, RecognizeRequest, RecognizeResponse, ScalerStatus,
};
use testkit::Program;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;
use tonic::{Request, Response, Status};

use scaler::{SetScaler, decision};

#[path = "../../tests/it/scaler.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests use all of it, and panic on failure"
)]
mod scaler;

/// Between two decisions: pages ask for a status at most every 100 ms.
const DECISION_INTERVAL: Duration = Duration::from_millis(100);
const WORKERS: usize = 15;

/// A front that recognizes everybody at once.
#[derive(Debug)]
pub struct Front {
    pub url: String,
    _stop: DropGuard,
}

#[derive(Debug)]
struct StubRecognizer;

#[tonic::async_trait]
impl Recognizer for StubRecognizer {
    async fn recognize(
        &self,
        _request: Request<RecognizeRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        Ok(Response::new(RecognizeResponse {
            request_id: "0123456789abcdef0123456789abcdef".to_owned(),
            stem: "a".to_owned(),
            recognition: Some(Recognition {
                name: "somebody".to_owned(),
                ..Recognition::default()
            }),
            ..RecognizeResponse::default()
        }))
    }

    async fn get_result(
        &self,
        _request: Request<GetResultRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        Err(Status::not_found("no result is kept"))
    }
}

impl Front {
    pub async fn start() -> anyhow::Result<Self> {
        let (listener, url) = testkit::listen().await;
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            let (_ready, readiness) = watch::channel(true);
            let options = ServerOptions::unrestricted();
            platform::grpc::serve(listener, options, readiness, stop, &[], |routes| {
                routes.add_service(RecognizerServer::new(StubRecognizer));
            })
            .await
        });
        Ok(Self {
            url,
            _stop: shutdown.drop_guard(),
        })
    }
}

/// Returns a scaler with a busy fleet, and the task that makes its decisions.
pub async fn deciding_scaler() -> (std::sync::Arc<SetScaler>, JoinHandle<()>) {
    let scaler = std::sync::Arc::new(SetScaler::start().await);
    let decider = std::sync::Arc::clone(&scaler);
    let deciding = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(DECISION_INTERVAL);
        for sequence in 2.. {
            ticks.tick().await;
            decider.decide(busy(sequence));
        }
    });
    (scaler, deciding)
}

/// A decision as large as the scaler's.
fn busy(sequence: u64) -> ScalerStatus {
    let mut status = decision(
        sequence,
        "21 requests unanswered, so 15 wanted, the maximum, 15 there",
    );
    let at = status.at;
    let observation = status.observation.get_or_insert_default();
    observation.unanswered = Some(21);
    observation.described_at = at;
    observation.queue = Some(QueueCounters {
        visible: 6,
        in_flight: 15,
        at,
        ..QueueCounters::default()
    });
    observation.instances = (1..=WORKERS as u32)
        .map(|number| Instance {
            instance_id: format!("i-0123456789abcde{number:02}"),
            name: format!("app-tier-instance-{number}"),
            state: InstanceState::Busy.into(),
            since: at,
            number: Some(number),
            heard: at,
            started_at: at,
            running_since: at,
            listed: true,
            ..Instance::default()
        })
        .collect();
    let rejected = |workers: u32| Alternative {
        workers,
        reason: "would finish what waits in 23.5 s, later than the target of 2 s".to_owned(),
    };
    status.plan = Some(Plan {
        desired_workers: WORKERS as u32,
        rejected: vec![rejected(3), rejected(6)],
        wake_at: at,
        ..status.plan.unwrap_or_default()
    });
    let estimate = Some(Estimate {
        learned: 0,
        mean_seconds: 0.123,
        spread_seconds: 0.012,
        samples: 77,
    });
    status.estimates = Some(Estimates {
        service: estimate,
        boot: estimate,
        arrival_rate: 99.5,
        arrival_trend: 1.25,
        frame: None,
    });
    status
}

/// The gateway's program.
#[derive(Debug)]
pub struct GatewayProcess {
    pub address: SocketAddr,
    pub program: Program,
}

impl GatewayProcess {
    pub async fn start(front: &str, scaler: &str) -> Self {
        let [address] = testkit::free_addresses();
        let program = Program::start(
            Command::new(env!("CARGO_BIN_EXE_gateway"))
                .args(["--listen", &address.to_string()])
                .args(["--front", front, "--scaler", scaler, "--log", "warn"]),
        );
        testkit::eventually("the gateway listens", async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        Self { address, program }
    }
}
