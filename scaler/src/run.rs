//! Starts the scaler: the reconciler, the gRPC service and the lease.
//!
//! | module | what it does |
//! |---|---|
//! | `reconcile` | the loop that observes, plans and executes |
//! | `learned` | keeps the measured times of the workers across restarts |

mod learned;
mod reconcile;

use std::sync::Arc;

use futures::future::BoxFuture;
use platform::aws::Aws;
use platform::demand::Reader;
use platform::shutdown::CancellationToken;
use proto::Names;
use proto::v1::scaler_server::{SERVICE_NAME, ScalerServer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

use self::learned::LearnedTimes;
use self::learned::record::WorkerKind;
use self::reconcile::Reconciler;
use crate::clock::Clock;
use crate::config::{Config, LeaseConfig, preflight};
use crate::decision_log::{ActivePolicy, DecisionLog};
use crate::execute::Executor;
use crate::fleet::{FleetToken, WorkerRegistry, demand};
use crate::rpc::{MOST_REQUEST_BYTES, MOST_STREAMS, Operators, ScalerService};
use crate::{lease, metrics};

/// Scales, and serves `muster.v1.Scaler` on `listener`, until `shutdown`. Workers keep running after it.
///
/// # Errors
/// When the address needs API keys and there are none, a file of keys or certificates cannot be read, the listener fails,
/// or front's address is not a URL.
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
    if config.preflight {
        preflight::spawn(preflight::checks(&config, &aws), shutdown.clone());
    }
    // The service checks each call itself: workers carry the fleet's token in place of a key.
    let server = config.server.open(address, |_| None)?;
    let operators = Operators {
        access: server.access.clone(),
        token: config.token,
    };
    let clock = Clock::start();
    let registry = WorkerRegistry::new(clock);
    metrics::describe();
    let active = ActivePolicy::from(config.policy.clone());
    let log = DecisionLog::new(active.clone());
    let active = watch::Sender::new(active);
    let (ready, readiness) = watch::channel(false);
    config
        .admin
        .spawn(readiness.clone(), shutdown.clone())
        .await?;
    let mut decisions = log.latest.subscribe();
    let is_deciding = move || {
        let has_decided = decisions.has_changed().unwrap_or(false);
        decisions.mark_unchanged();
        has_decided
    };
    platform::service_manager::report(readiness.clone(), shutdown.clone(), is_deciding);
    let demand = match &config.demand.demand {
        Some(redis) => {
            tracing::info!(%redis, "watching the fronts' demand in Redis");
            let reader = Reader::new(redis.clone(), &config.prefix);
            demand::watch_redis(reader, clock, shutdown.clone())
        }
        None => {
            tracing::info!(front = config.front, "watching one front's demand");
            let front = platform::grpc::channel(&config.front, &config.peer_tls)?;
            demand::watch_front(front, config.key, clock, shutdown.clone())
        }
    };
    let (outcome, outcomes) = mpsc::channel(256);
    let (listener, held_address) = share(listener)?;
    let bucket = aws.objects(Names::new(&config.prefix).scaler_bucket());
    let fleet_token = match config.fleet_token {
        Some(token) => FleetToken::given(token),
        None => FleetToken::kept_in(bucket.clone(), shutdown.clone()),
    };
    let kind = WorkerKind::of(&config.executor);
    let learned = LearnedTimes::new(bucket.clone(), kind);
    let (leadership, lease) = match config.lease {
        Some(LeaseConfig {
            times,
            ref advertised,
        }) => lease::compete(
            bucket,
            clock,
            times,
            advertised.clone().unwrap_or_else(|| address.to_string()),
            address,
        ),
        None => lease::disabled(clock),
    };
    tracing::info!(
        %address,
        policy = config.policy.kind.name(),
        min_workers = config.policy.bounds.min_workers,
        max_workers = config.policy.bounds.max_workers,
        "scaling"
    );
    let market = config.executor.launch.market;
    let fleet = aws.fleet().of_prefix(&config.prefix);
    let reconciler = Reconciler {
        clock,
        active: active.subscribe(),
        tick: config.tick,
        request_queue: Names::new(&config.prefix).request_queue(),
        fleet: fleet.clone(),
        fleet_token: fleet_token.clone(),
        registry: registry.clone(),
        demand,
        executor: Executor::new(fleet, config.executor, outcome)
            .with_leadership(leadership.clone())
            .with_fleet_token(fleet_token.clone()),
        outcomes,
        log: log.clone(),
        leadership: leadership.clone(),
        learned,
        ready,
        aws,
    };
    let service = ScalerService {
        active,
        operators,
        fleet_token,
        market,
        registry,
        streams: Arc::new(Semaphore::new(MOST_STREAMS)),
        log,
        leadership,
        shutdown: shutdown.clone(),
    };
    let serving = platform::grpc::serve(
        listener,
        server,
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
        hand_over(has_ended, lease.release(), held_address).await;
    };
    together(reconciling, serving, &shutdown).await
}

/// Returns the same socket twice. The address is in use until both are closed.
fn share(listener: TcpListener) -> std::io::Result<(TcpListener, std::net::TcpListener)> {
    let held = listener.into_std()?;
    Ok((TcpListener::from_std(held.try_clone()?)?, held))
}

/// Lets the next scaler act. A scaler that listens at `address` takes the lease over at once, so the address is freed last.
/// While calls to EC2 may be in flight, the lease is not released: it lapses.
async fn hand_over(
    has_ended: bool,
    release: impl Future<Output = ()>,
    address: std::net::TcpListener,
) {
    if has_ended {
        release.await;
    } else {
        tracing::warn!("calls to EC2 are in flight, so the lease is not released and has to lapse");
    }
    drop(address);
}

/// Runs the reconciler and the service until both have ended. When one of them ends early, `shutdown` ends the other.
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
    async fn the_address_is_in_use_until_the_lease_is_released() {
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
    async fn the_lease_is_not_released_while_calls_to_ec2_are_in_flight() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_serving, held) = share(listener).unwrap();
        let release = async { panic!("another scaler would lead at once") };
        hand_over(false, release, held).await;
    }

    #[tokio::test]
    async fn the_reconciler_does_not_outlive_the_service() {
        let shutdown = CancellationToken::new();
        let failed: anyhow::Result<()> = Err(anyhow::anyhow!("the listener failed"));
        let served = together(shutdown.cancelled(), async { failed }, &shutdown).await;
        assert!(served.is_err());
    }

    #[tokio::test]
    async fn the_service_does_not_outlive_the_reconciler() {
        let shutdown = CancellationToken::new();
        together(async {}, shutdown.cancelled(), &shutdown).await;
        assert!(shutdown.is_cancelled());
    }
}
