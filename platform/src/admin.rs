//! The administration address: health and metrics. Also binds listeners.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cross_site;
use crate::shutdown::CancellationToken;
use crate::telemetry;

/// Whether a service can do its work now. The service has the sender.
pub type Readiness = watch::Receiver<bool>;

/// Settings of the administration address.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Health and metrics")]
pub struct AdminArgs {
    /// Address of /healthz, /readyz and /metrics [default: they are not served]
    #[arg(long, env = "MUSTER_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
}

impl AdminArgs {
    /// Serves the [`router`] and Prometheus metrics in the background, if an address is given. Calls that pages of other
    /// sites make browsers send are refused with 403.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn spawn(&self, ready: Readiness, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Some(address) = self.admin_listen else {
            return Ok(());
        };
        let listener = bind(address).await?;
        let routes = guarded(ready, address.ip().to_canonical().is_loopback());
        tokio::spawn(async move {
            let served =
                axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "health and metrics are no longer served");
            }
        });
        Ok(())
    }
}

/// How long an address may be in use before a service gives up. The process that uses it may be about to end.
const BIND_DEADLINE: Duration = Duration::from_secs(5);
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// Binds a listener. Waits a few seconds for an address that is in use.
///
/// # Errors
/// When the address cannot be bound. The error names it, which the operating system's error does not.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    bind_within(address, BIND_DEADLINE).await
}

async fn bind_within(address: SocketAddr, limit: Duration) -> anyhow::Result<TcpListener> {
    let give_up_at = Instant::now() + limit;
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let is_in_use = error.kind() == ErrorKind::AddrInUse;
        if !is_in_use || Instant::now() >= give_up_at {
            let remedy = if is_in_use {
                "; stop the process that uses it, or choose another address"
            } else {
                ""
            };
            return Err(error).with_context(|| format!("cannot listen on {address}{remedy}"));
        }
        tokio::time::sleep(BIND_PAUSE).await;
    }
}

/// Returns the routes of the administration address. There are no keys, so that on loopback callers must be local.
fn guarded(ready: Readiness, is_loopback: bool) -> Router {
    let routes = router(ready).route("/metrics", get(metrics));
    routes.layer(from_fn_with_state(is_loopback, refuse_cross_site))
}

async fn refuse_cross_site(
    State(must_be_local): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    match cross_site::check(request.headers(), must_be_local) {
        Ok(()) => next.run(request).await,
        Err(refused) => (StatusCode::FORBIDDEN, format!("{refused}\n")).into_response(),
    }
}

/// Routes `/healthz` (the process runs) and `/readyz` (it can do its work).
pub fn router(ready: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || readiness(*ready.borrow())))
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn bound() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Serves the routes of the administration address; returns the URL.
    async fn served(is_loopback: bool) -> String {
        let (listener, address) = bound().await;
        let (_ready, readiness) = watch::channel(true);
        let routes = guarded(readiness, is_loopback);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        format!("http://{address}")
    }

    async fn status(url: &str, path: &str, header: (&str, &str)) -> u16 {
        let request = testkit::http_client().get(format!("{url}{path}"));
        let answer = request.header(header.0, header.1).send().await.unwrap();
        answer.status().as_u16()
    }

    #[tokio::test]
    async fn a_page_of_another_site_cannot_read_the_metrics() {
        for is_loopback in [true, false] {
            let url = served(is_loopback).await;
            for path in ["/metrics", "/healthz", "/readyz"] {
                let of = async |site| status(&url, path, ("sec-fetch-site", site)).await;
                assert_eq!(of("cross-site").await, 403, "{path}");
                assert_eq!(of("same-site").await, 403, "{path}");
                assert_eq!(of("same-origin").await, 200, "{path}");
                assert_eq!(of("none").await, 200, "{path}");
            }
        }
    }

    /// Elsewhere a machine may have a name, by which Prometheus reads its metrics.
    #[tokio::test]
    async fn on_loopback_the_metrics_have_no_public_name() {
        let (loopback, elsewhere) = (served(true).await, served(false).await);
        let host = async |url, host| status(url, "/metrics", ("host", host)).await;
        assert_eq!(host(&*loopback, "evil.example").await, 403);
        assert_eq!(host(&*loopback, "localhost:9100").await, 200);
        assert_eq!(host(&*elsewhere, "muster.example").await, 200);
    }

    /// Two of a hundred starts of the stack failed because a port was still in use.
    #[tokio::test]
    async fn an_address_that_is_freed_soon_is_waited_for() {
        let (listener, address) = bound().await;
        // `join!` polls the first attempt before the port is freed.
        let free = async { drop(listener) };
        let (bound, ()) = futures::join!(bind(address), free);
        assert_eq!(bound.unwrap().local_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn an_address_that_stays_in_use_is_named() {
        let (_listener, address) = bound().await;
        let refused = bind_within(address, Duration::ZERO).await.unwrap_err();
        let expected = format!("cannot listen on {address}; stop the process that uses it");
        assert!(refused.to_string().starts_with(&expected), "{refused}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_fails_at_once() {
        let elsewhere = "192.0.2.1:80".parse().unwrap();
        let began = Instant::now();
        assert!(bind(elsewhere).await.is_err());
        assert!(began.elapsed() < BIND_DEADLINE);
    }
}
