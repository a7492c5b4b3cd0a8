use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::service::RoutesBuilder;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::trace::TraceLayer;
use tower_http::validate_request::{ValidateRequest, ValidateRequestHeaderLayer};

use crate::access::{Access, AccessArgs, Role, SECRET_HEADERS};
use crate::admin::Readiness;
use crate::shutdown::{CancellationToken, bounded};
use crate::tls::{Acceptor, ClientCaArgs, PeerTlsArgs, Protocol, ServerTlsArgs};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// Calls in progress on one connection. HTTP/2's usual 200 would make a client's other calls queue up in front of a
/// service that refuses overload itself, and unnoticed by it.
const MAX_CONCURRENT_CALLS: u32 = 4096;
/// Bytes of one call that may be on their way or unread.
const CALL_WINDOW: u32 = 64 * 1024;
/// All calls of a connection together: whatever some leave unread while they wait for their turn, others can go on.
const CONNECTION_WINDOW: u32 = MAX_CONCURRENT_CALLS * CALL_WINDOW;

/// TLS handshakes at once.
const MAX_HANDSHAKES: usize = 1024;

/// Access and TLS settings of a gRPC server.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DoorArgs {
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub tls: ServerTlsArgs,
    #[command(flatten)]
    pub client_ca: ClientCaArgs,
}

impl DoorArgs {
    /// Reads keys and certificates for a server that listens at `address`.
    ///
    /// # Errors
    /// When a file cannot be read, or the address needs a key file.
    pub fn open(
        &self,
        address: SocketAddr,
        role_for: fn(service: &str) -> Option<Role>,
    ) -> anyhow::Result<Door> {
        Ok(Door {
            access: self.access.open(address)?,
            role_for,
            tls: self.tls.acceptor(&self.client_ca, Protocol::Http2)?,
        })
    }
}

/// The access checks and TLS of a gRPC server.
#[derive(Debug, Clone)]
pub struct Door {
    pub access: Access,
    /// The role that a service's methods need, by the service's full name; `None`: the service checks by itself.
    pub role_for: fn(service: &str) -> Option<Role>,
    /// `None`: no TLS.
    pub tls: Option<Acceptor>,
}

/// Serves the gRPC services that `add` adds, with health and reflection beside them, until `shutdown`. Reflection, in
/// both versions that tools speak, lists `services`: the full names of what `add` adds. Health is open to anybody.
///
/// Streams that do not end by themselves are cut off five seconds after `shutdown`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    door: Door,
    ready: Readiness,
    shutdown: CancellationToken,
    services: &[&str],
    add: impl FnOnce(&mut RoutesBuilder),
) -> anyhow::Result<()> {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    // A new reporter says that all is well: whoever asks first must not hear that.
    let is_ready = *ready.borrow();
    set_health(&health_reporter, is_ready).await;
    let mut routes = RoutesBuilder::default();
    routes.add_service(health);
    routes.add_service(reflection(services).build_v1()?);
    routes.add_service(reflection(services).build_v1alpha()?);
    add(&mut routes);
    let reporting = tokio::spawn(report_health(health_reporter, ready));
    let tls = door.tls.clone();
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_CONCURRENT_CALLS)
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .layer(
            ServiceBuilder::new()
                .layer(SetSensitiveRequestHeadersLayer::new(SECRET_HEADERS))
                .layer(TraceLayer::new_for_grpc().on_failure(()))
                .layer(CatchPanicLayer::custom(panicked))
                .layer(ValidateRequestHeaderLayer::custom(door)),
        )
        .add_routes(routes.routes());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let ending = shutdown.clone().cancelled_owned();
    let server = async {
        let Some(tls) = tls else {
            return router.serve_with_incoming_shutdown(incoming, ending).await;
        };
        let handshakes = incoming.map(|stream| async { tls.accept(stream?).await });
        let incoming = handshakes.buffer_unordered(MAX_HANDSHAKES);
        router.serve_with_incoming_shutdown(incoming, ending).await
    };
    let served = bounded("grpc", &shutdown, SHUTDOWN_DEADLINE, server).await;
    reporting.abort();
    served.transpose()?;
    Ok(())
}

impl Door {
    /// No access checks, no TLS.
    #[must_use]
    pub fn open() -> Self {
        Self {
            access: Access::anybody(),
            role_for: |_| None,
            tls: None,
        }
    }
}

impl<B> ValidateRequest<B> for Door {
    type ResponseBody = tonic::body::Body;

    fn validate(
        &mut self,
        call: &mut http::Request<B>,
    ) -> Result<(), http::Response<Self::ResponseBody>> {
        let service = call.uri().path().split('/').nth(1).unwrap_or_default();
        let role = match service {
            "grpc.health.v1.Health" => None,
            _ if service.starts_with("grpc.reflection.") => Some(Role::Operate),
            _ => (self.role_for)(service),
        };
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

/// A channel to a Muster service that connects at the first call and reconnects by itself.
///
/// # Errors
/// When `url` is not a URL such as `http://127.0.0.1:8051`, or is an https one and `tls` lacks what that needs.
pub fn channel(url: &str, tls: &PeerTlsArgs) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if endpoint.uri().scheme_str() != Some("https") {
        return Ok(endpoint.connect_lazy());
    }
    let connector = tls.connector()?;
    let connect = tower::service_fn(move |uri: http::Uri| {
        let connector = connector.clone();
        async move { connector.connect(&uri).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connect))
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
mod tests {
    use std::collections::BTreeSet;

    use tokio::sync::watch;

    use super::*;

    /// The services that reflection lists, asked in one version of its protocol.
    macro_rules! listed {
        ($version:ident, $url:expr) => {{
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client =
                ServerReflectionClient::new(channel($url, &PeerTlsArgs::default()).unwrap());
            let answers = client
                .server_reflection_info(futures::stream::iter([request]))
                .await;
            let answer = answers
                .unwrap()
                .into_inner()
                .message()
                .await
                .unwrap()
                .unwrap();
            match answer.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => list
                    .service
                    .into_iter()
                    .map(|service| service.name)
                    .collect::<BTreeSet<_>>(),
                other => panic!("expected a list of services, got {other:?}"),
            }
        }};
    }

    #[tokio::test]
    async fn a_service_that_is_not_ready_says_so_to_the_first_who_asks() {
        use tonic_health::pb::health_client::HealthClient;
        use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

        for _ in 0..20 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (_ready, readiness) = watch::channel(false);
            let shutdown = CancellationToken::new();
            let stop = shutdown.clone().drop_guard();
            let serving = tokio::spawn(serve(
                listener,
                Door::open(),
                readiness,
                shutdown,
                &[],
                |_| {},
            ));
            let mut health = HealthClient::new(channel(&url, &PeerTlsArgs::default()).unwrap());
            let answer = health.check(HealthCheckRequest::default()).await.unwrap();
            assert_eq!(answer.into_inner().status(), ServingStatus::NotServing);
            drop(stop);
            serving.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn reflection_lists_what_is_served_in_both_of_its_versions() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (_ready, readiness) = watch::channel(true);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone().drop_guard();
        let services = &["muster.v1.Scaler"];
        let serving = tokio::spawn(serve(
            listener,
            Door::open(),
            readiness,
            shutdown,
            services,
            |_| {},
        ));
        let expected =
            BTreeSet::from(["grpc.health.v1.Health", "muster.v1.Scaler"].map(String::from));
        assert_eq!(listed!(v1, &url), expected);
        assert_eq!(listed!(v1alpha, &url), expected);
        drop(stop);
        serving.await.unwrap().unwrap();
    }
}
