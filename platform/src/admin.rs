use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::shutdown::CancellationToken;
use crate::telemetry;

/// Whether a service can do its work at present. The sender side belongs to the service.
pub type Readiness = watch::Receiver<bool>;

/// Where a service without HTTP of its own answers health checks and metrics.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Health and metrics")]
pub struct AdminArgs {
    /// Address for /healthz, /readyz and /metrics; absent: not served
    #[arg(long, env = "MUSTER_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
}

impl AdminArgs {
    /// Serves the [`router`] in the background where an address is given.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn spawn(&self, ready: Readiness, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Some(address) = self.admin_listen else {
            return Ok(());
        };
        let listener = bind(address).await?;
        tokio::spawn(async move {
            let served = axum::serve(listener, router(ready))
                .with_graceful_shutdown(shutdown.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "health and metrics are no longer served");
            }
        });
        Ok(())
    }
}

/// Binds a listener.
///
/// # Errors
/// Names the address when it cannot be bound, as the operating system's error does not.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// `/healthz` (the process lives), `/readyz` (it can do its work) and `/metrics` (Prometheus text).
pub fn router(ready: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || readiness(*ready.borrow())))
        .route("/metrics", get(metrics))
}

fn readiness(ready: bool) -> (StatusCode, &'static str) {
    if ready {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics() -> ([(header::HeaderName, &'static str); 1], String) {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        telemetry::render_metrics(),
    )
}
