use std::sync::Arc;

use futures::future::BoxFuture;
use platform::aws::Aws;
use platform::demand::Reader;
use platform::shutdown::CancellationToken;
use proto::Names;
use proto::v1::scaler_server::{SERVICE_NAME, ScalerServer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::access::Operators;
use crate::attend::Attendance;
use crate::board::{Board, Settings};
use crate::clock::Clock;
use crate::config::{Config, LeaseConfig};
use crate::execute::Executor;
use crate::fleet_token::FleetToken;
use crate::lease;
use crate::metric;
use crate::observe::{front, shared};
use crate::reconcile::Reconciler;
use crate::service::{MOST_REQUEST_BYTES, MOST_STREAMS, ScalerService};

/// Scales, and serves `muster.v1.Scaler` on `listener`, until `shutdown`. The workers are left alone then.
///
/// # Errors
/// When it must not listen there without keys, a file of its keys or certificates cannot be read, the listener fails, or
/// front's address is not a URL.
#[inline(never)]
pub fn run(
    config: Config,
    aws: Aws,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    // Compiled here once, and not in each binary and test: see "Builds" in docs/development.md.
    Box::pin(serve(config, aws, listener, shutdown))
}

async fn serve(
    config: Config,
    aws: Aws,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    // The service checks by itself: workers come with the fleet's token.
    let door = config.door.open(address, |_| None)?;
    let operators = Operators {
        access: door.access.clone(),
        token: config.token,
    };
    let clock = Clock::start();
    let attendance = Attendance::new(clock);
    metric::describe();
    let settings = Settings {
        version: 0,
        policy: Arc::new(config.policy.clone()),
    };
    let board = Board::new(settings.clone());
    let settings = watch::Sender::new(settings);
    let (ready, readiness) = watch::channel(false);
    config
        .admin
        .spawn(readiness.clone(), shutdown.clone())
        .await?;
    let demand = match &config.demand.demand {
        Some(redis) => {
            tracing::info!(%redis, "the fronts' demand comes from Redis");
            let reader = Reader::new(redis.clone(), &config.prefix);
            shared::watch(reader, clock, shutdown.clone())
        }
        None => {
            tracing::info!(front = config.front, "demand comes from one front");
            let front = platform::grpc::channel(&config.front, &config.peer_tls)?;
            front::watch(front, config.key, clock, shutdown.clone())
        }
    };
    let (outcome, outcomes) = mpsc::channel(256);
    let (listener, held_address) = share(listener)?;
    let bucket = aws.objects(format!("{}-scaler-bucket", config.prefix));
    let fleet_token = match config.fleet_token {
        Some(token) => FleetToken::given(token),
        None => FleetToken::kept_in(bucket.clone(), shutdown.clone()),
    };
    let (leadership, keeper) = match config.lease {
        Some(LeaseConfig {
            times,
            ref advertised,
        }) => lease::keep(
            bucket,
            clock,
            times,
            advertised.clone().unwrap_or_else(|| address.to_string()),
            address,
        ),
        None => lease::off(clock),
    };
    tracing::info!(
        %address,
        policy = config.policy.kind.name(),
        min_workers = config.policy.bounds.min_workers,
        max_workers = config.policy.bounds.max_workers,
        "scaling"
    );
    let market = config.calls.launch.market;
    let reconciler = Reconciler {
        clock,
        settings: settings.subscribe(),
        tick: config.tick,
        request_queue: Names::new(&config.prefix).request_queue(),
        fleet: aws.fleet(),
        attendance: attendance.clone(),
        demand,
        executor: Executor::new(aws.fleet(), config.calls, attendance.clone(), outcome)
            .under(leadership.clone())
            .handing_out(fleet_token.clone()),
        outcomes,
        board: board.clone(),
        leadership: leadership.clone(),
        ready,
        aws,
    };
    let service = ScalerService {
        settings,
        operators,
        fleet_token,
        market,
        attendance,
        streams: Arc::new(Semaphore::new(MOST_STREAMS)),
        board,
        leadership,
        shutdown: shutdown.clone(),
    };
    let serving = platform::grpc::serve(
        listener,
        door,
        readiness,
        shutdown.clone(),
        &[SERVICE_NAME],
        |routes| {
            let service = ScalerServer::new(service);
            routes.add_service(service.max_decoding_message_size(MOST_REQUEST_BYTES));
        },
    );
    let reconciling = async {
        let has_ended = reconciler.run(shutdown.clone()).await;
        hand_over(has_ended, keeper.release(), held_address).await;
    };
    together(reconciling, serving, &shutdown).await
}

/// The same socket twice. The address is taken until both are closed.
fn share(listener: TcpListener) -> std::io::Result<(TcpListener, std::net::TcpListener)> {
    let held = listener.into_std()?;
    Ok((TcpListener::from_std(held.try_clone()?)?, held))
}

/// Lets the next scaler act. A scaler that listens at `address` takes the lease over at once, so the address is freed last.
/// If calls to EC2 may be under way, the lease is left to lapse.
async fn hand_over(
    has_ended: bool,
    release: impl Future<Output = ()>,
    address: std::net::TcpListener,
) {
    if has_ended {
        release.await;
    } else {
        tracing::warn!("calls to EC2 are under way, so the lease is not released but has to lapse");
    }
    drop(address);
}

/// Runs the loop and the service until both have ended. When one of them ends early, `shutdown` tells the other: it
/// would only look alive.
async fn together<T>(
    reconciling: impl Future<Output = ()>,
    serving: impl Future<Output = T>,
    shutdown: &CancellationToken,
) -> T {
    let reconciling = async {
        let _guard = shutdown.clone().drop_guard();
        reconciling.await;
    };
    let serving = async {
        let _guard = shutdown.clone().drop_guard();
        serving.await
    };
    tokio::join!(reconciling, serving).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_address_is_taken_until_the_lease_is_released() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (serving, held) = share(listener).unwrap();
        drop(serving);
        let release = async {
            let error = TcpListener::bind(address).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        };
        hand_over(true, release, held).await;
        TcpListener::bind(address).await.unwrap();
    }

    #[tokio::test]
    async fn the_lease_is_not_released_while_calls_to_ec2_are_under_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_serving, held) = share(listener).unwrap();
        let release = async { panic!("another scaler would lead at once") };
        hand_over(false, release, held).await;
    }

    #[tokio::test]
    async fn the_loop_does_not_outlive_a_service_that_ends_early() {
        let shutdown = CancellationToken::new();
        let failed: anyhow::Result<()> = Err(anyhow::anyhow!("the listener failed"));
        let served = together(shutdown.cancelled(), async { failed }, &shutdown).await;
        assert!(served.is_err());
    }

    #[tokio::test]
    async fn the_service_does_not_outlive_a_loop_that_ends_early() {
        let shutdown = CancellationToken::new();
        together(async {}, shutdown.cancelled(), &shutdown).await;
        assert!(shutdown.is_cancelled());
    }
}
