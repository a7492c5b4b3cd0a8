//! gRPC servers and channels, as every Muster service uses them.

mod preface;
mod revocation;

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::service::RoutesBuilder;
use tonic::transport::Server;
use tower::ServiceBuilder;
use tower::layer::layer_fn;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::trace::TraceLayer;
use tower_http::validate_request::{ValidateRequest, ValidateRequestHeaderLayer};

use crate::access::{AccessArgs, Authenticator, Role, SECRET_HEADERS};
use crate::admin::Readiness;
use crate::channel::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use crate::connections::{Limits, Listener};
use crate::shutdown::{CancellationToken, bounded};
use crate::telemetry::server::{note_rpc_status, rpc_span};
use crate::tls::{Acceptor, ClientCaArgs, Protocol, ServerTlsArgs};
use preface::PrefaceTimer;
use revocation::Revocable;

pub use crate::channel::channel;

/// As long as an HTTP server waits for the head of a request by default.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(15);
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// Calls in progress on one connection. With HTTP/2's usual 200, a client's further calls would queue up where the
/// service, which refuses overload itself, cannot see them.
const MAX_CONCURRENT_CALLS: u32 = 4096;
/// Bytes of one call that may be in transit or unread.
const CALL_WINDOW: u32 = 64 * 1024;
/// Bytes of all calls of a connection: calls that wait unread must not block the others.
const CONNECTION_WINDOW: u32 = MAX_CONCURRENT_CALLS * CALL_WINDOW;
/// The service whose calls are part of traces.
const TRACED: &str = proto::v1::recognizer_server::SERVICE_NAME;
/// As many as an HTTP server has by default.
const MAX_CONNECTIONS: usize = 20_000;

/// Access, TLS and connection settings of a gRPC server.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub tls: ServerTlsArgs,
    #[command(flatten)]
    pub client_ca: ClientCaArgs,
    #[command(flatten)]
    pub connections: ConnectionArgs,
}

/// Limits on the connections of a gRPC server.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionArgs {
    /// Open gRPC connections; further ones are closed at once
    #[arg(
        long,
        env = "MUSTER_MAX_GRPC_CONNECTIONS",
        value_name = "N",
        default_value_t = MAX_CONNECTIONS
    )]
    pub max_grpc_connections: usize,
    /// Open gRPC connections of one IPv4 address or IPv6 /64 network [default: no limit]
    #[arg(
        long,
        env = "MUSTER_MAX_GRPC_CONNECTIONS_PER_ADDRESS",
        value_name = "N"
    )]
    pub max_grpc_connections_per_address: Option<usize>,
}

impl Default for ConnectionArgs {
    fn default() -> Self {
        Self {
            max_grpc_connections: MAX_CONNECTIONS,
            max_grpc_connections_per_address: None,
        }
    }
}

impl ConnectionArgs {
    fn limits(&self) -> Limits {
        let total = self.max_grpc_connections;
        let per_address = self.max_grpc_connections_per_address.unwrap_or(total);
        Limits { total, per_address }
    }
}

impl ServerArgs {
    /// Reads keys and certificates for a server that listens at `address`.
    ///
    /// # Errors
    /// When a file cannot be read, or the address needs a key file.
    pub fn open(
        &self,
        address: SocketAddr,
        role_for: fn(service: &str) -> Option<Role>,
    ) -> anyhow::Result<ServerOptions> {
        Ok(ServerOptions {
            access: self.access.open(address)?,
            role_for,
            tls: self.tls.acceptor(&self.client_ca, Protocol::Http2)?,
            limits: self.connections.limits(),
            timeouts: Timeouts::default(),
        })
    }
}

/// Who may connect to a gRPC server, and how.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    pub access: Authenticator,
    /// Returns the role that a service's methods need, by the service's full name. `None`: the service checks by itself.
    pub role_for: fn(service: &str) -> Option<Role>,
    /// `None`: no TLS.
    pub tls: Option<Acceptor>,
    pub limits: Limits,
    pub timeouts: Timeouts,
}

/// How long a gRPC server waits for a client that is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection, or from its TLS handshake, to the end of HTTP/2's preface.
    pub preface: Duration,
    /// From the last bytes of a connection to a ping, with and without calls.
    pub ping_after: Duration,
    /// From a ping to its acknowledgment.
    pub ping: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            preface: PREFACE_TIMEOUT,
            ping_after: KEEPALIVE_INTERVAL,
            ping: KEEPALIVE_TIMEOUT,
        }
    }
}

/// Serves the gRPC services that `add` adds, with health and reflection, until `shutdown`. Reflection, in the versions v1
/// and v1alpha, lists `services`: the full names of what `add` adds. Health needs no key.
///
/// Streams that are still open five seconds after `shutdown` are cut off. A response ends when its API key is removed or loses
/// a role, with the status that a new call would get.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    options: ServerOptions,
    ready: Readiness,
    shutdown: CancellationToken,
    services: &[&str],
    add: impl FnOnce(&mut RoutesBuilder),
) -> anyhow::Result<()> {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    // A new reporter says SERVING until it is told otherwise.
    let is_ready = *ready.borrow();
    set_health(&health_reporter, is_ready).await;
    let mut routes = RoutesBuilder::default();
    routes.add_service(health);
    routes.add_service(reflection(services).build_v1()?);
    routes.add_service(reflection(services).build_v1alpha()?);
    add(&mut routes);
    let reporting = tokio::spawn(report_health(health_reporter, ready));
    let (tls, limits, timeouts) = (options.tls.clone(), options.limits, options.timeouts);
    let router = Server::builder()
        .http2_keepalive_interval(Some(timeouts.ping_after))
        .http2_keepalive_timeout(Some(timeouts.ping))
        .max_concurrent_streams(MAX_CONCURRENT_CALLS)
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .layer(
            ServiceBuilder::new()
                .layer(SetSensitiveRequestHeadersLayer::new(SECRET_HEADERS))
                .layer(
                    TraceLayer::new_for_grpc()
                        .make_span_with(|call: &http::Request<_>| rpc_span(call, TRACED))
                        .on_response(note_rpc_status)
                        .on_failure(()),
                )
                .layer(CatchPanicLayer::custom(panicked))
                .layer(ValidateRequestHeaderLayer::custom(options))
                .layer(layer_fn(Revocable)),
        )
        .add_routes(routes.routes());
    let ending = shutdown.clone().cancelled_owned();
    let incoming = stream::unfold(Listener::new(listener, limits), async |listener| {
        Some((listener.accept().await.0, listener))
    });
    let server = async {
        let limit = timeouts.preface;
        let Some(tls) = tls else {
            let incoming = incoming.map(|it| Ok::<_, io::Error>(PrefaceTimer::new(it, limit)));
            return router.serve_with_incoming_shutdown(incoming, ending).await;
        };
        let handshakes = incoming.map(|stream| {
            let handshake = tls.accept(stream);
            async move { Ok::<_, io::Error>(PrefaceTimer::new(handshake.await?, limit)) }
        });
        // As many as connections, so that clients who stall do not keep others waiting.
        let incoming = handshakes.buffer_unordered(limits.total);
        router.serve_with_incoming_shutdown(incoming, ending).await
    };
    let served = bounded("grpc", &shutdown, SHUTDOWN_DEADLINE, server).await;
    reporting.abort();
    served.transpose()?;
    Ok(())
}

impl ServerOptions {
    /// Returns options without access checks and TLS, with the default limits.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self {
            access: Authenticator::open_to_all(),
            role_for: |_| None,
            tls: None,
            limits: ConnectionArgs::default().limits(),
            timeouts: Timeouts::default(),
        }
    }
}

impl<B> ValidateRequest<B> for ServerOptions {
    type ResponseBody = tonic::body::Body;

    fn validate(
        &mut self,
        call: &mut http::Request<B>,
    ) -> Result<(), http::Response<Self::ResponseBody>> {
        let service = call.uri().path().split('/').nth(1).unwrap_or_default();
        let role = match service {
            "grpc.health.v1.Health" => return Ok(()),
            _ if service.starts_with("grpc.reflection.") => Some(Role::Operate),
            _ => (self.role_for)(service),
        };
        // Also for a service that checks by itself.
        if let Some(grant) = self.access.grant(call.headers()) {
            call.extensions_mut().insert(grant);
        }
        role.map_or(Ok(()), |role| self.access.check(call.headers(), role))
            .map_err(|denied| Status::from(denied).into_http())
    }
}

/// The panic itself is logged by the panic hook.
fn panicked(_payload: Box<dyn Any + Send>) -> http::Response<tonic::body::Body> {
    Status::internal("the call failed").into_http()
}

fn reflection<'a>(services: &[&str]) -> tonic_reflection::server::Builder<'a> {
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    for service in services {
        builder = builder.with_service_name(*service);
    }
    builder
}

async fn report_health(reporter: tonic_health::server::HealthReporter, mut ready: Readiness) {
    loop {
        let is_ready = *ready.borrow_and_update();
        set_health(&reporter, is_ready).await;
        if ready.changed().await.is_err() {
            return;
        }
    }
}

/// The empty service name stands for the server as a whole.
async fn set_health(reporter: &tonic_health::server::HealthReporter, is_ready: bool) {
    let status = if is_ready {
        tonic_health::ServingStatus::Serving
    } else {
        tonic_health::ServingStatus::NotServing
    };
    reporter.set_service_status("", status).await;
}

#[cfg(test)]
mod tests;
