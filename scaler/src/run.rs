use std::sync::Arc;

use platform::aws::Aws;
use platform::demand::Reader;
use platform::shutdown::CancellationToken;
use proto::Names;
use proto::v1::scaler_server::{SERVICE_NAME, ScalerServer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::attend::Attendance;
use crate::board::{Board, Settings};
use crate::clock::Clock;
use crate::config::{Config, LeaseConfig};
use crate::execute::Executor;
use crate::lease;
use crate::metric;
use crate::observe::{front, shared};
use crate::reconcile::Reconciler;
use crate::service::ScalerService;

/// Scales, and serves `muster.v1.Scaler` on `listener`, until `shutdown`. The workers are left alone then.
///
/// # Errors
/// When the listener fails, or front's address is not a URL.
pub async fn run(
    config: Config,
    aws: Aws,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
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
            let front = platform::grpc::channel(&config.front)?;
            front::watch(front, clock, shutdown.clone())
        }
    };
    let (outcome, outcomes) = mpsc::channel(256);
    let address = listener.local_addr()?;
    let (leadership, keeper) = match config.lease {
        Some(LeaseConfig {
            time,
            ref advertised,
        }) => lease::keep(
            aws.objects(format!("{}-scaler-bucket", config.prefix)),
            clock,
            time,
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
    let reconciler = Reconciler {
        clock,
        settings: settings.subscribe(),
        tick: config.tick,
        request_queue: Names::new(&config.prefix).request_queue(),
        fleet: aws.fleet(),
        attendance: attendance.clone(),
        demand,
        executor: Executor::new(aws.fleet(), config.calls, attendance.clone(), outcome)
            .under(leadership.clone()),
        outcomes,
        board: board.clone(),
        leadership: leadership.clone(),
        ready,
        aws,
    };
    let service = ScalerService {
        settings,
        token: config.token,
        attendance,
        board,
        leadership,
        shutdown: shutdown.clone(),
    };
    let serving = platform::grpc::serve(
        listener,
        readiness,
        shutdown.clone(),
        &[SERVICE_NAME],
        |routes| {
            routes.add_service(ScalerServer::new(service));
        },
    );
    let reconciling = async {
        reconciler.run(shutdown.clone()).await;
        // Its calls to EC2 have ended, so the next scaler may act.
        keeper.release().await;
    };
    together(reconciling, serving, &shutdown).await
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
