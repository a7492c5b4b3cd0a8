//! The HTTP gateway: receives photos as multipart uploads, calls front, and responds with a line of text or JSON. It also
//! serves a page that shows this and the fleet.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Method, Request, Uri};
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};
use futures::future::BoxFuture;
use platform::access::{AccessArgs, Authenticator, SECRET_HEADERS};
use platform::admin::AdminArgs;
use platform::duration;
use platform::http::{ConnectionLimits, serve};
use platform::shutdown::bounded;
use platform::telemetry::server::{http_span, note_http_status};
use platform::tls::{ClientCaArgs, PeerTlsArgs, Protocol, ServerTlsArgs};
use proto::v1::recognizer_client::RecognizerClient;
use proto::v1::videos_client::VideosClient;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::trace::{DefaultMakeSpan, MakeSpan, TraceLayer};
use tracing::Span;
use video::ClipLimits;

use crate::MAX_IMAGE_BYTES;
use crate::byte_budget::ByteBudget;
use crate::error::{ErrorCode, RequestError};
use front_channel::FrontChannel;
use response::ResponseFormat;
use traffic::Traffic;
use viewers::Viewers;

mod catch_panic;
mod cross_site;
mod disposition;
mod front_channel;
mod front_health;
mod page;
mod recognize;
mod response;
mod traffic;
mod upload;
mod videos;
mod viewers;

/// Settings of the HTTP gateway.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "HTTP gateway", after_help = duration::HELP)]
pub struct Config {
    /// URL at which front serves gRPC
    #[arg(
        long,
        env = "MUSTER_FRONT",
        value_name = "URL",
        default_value = "http://127.0.0.1:8051"
    )]
    pub front: String,
    /// Largest photo, in bytes. Front has the same limit
    #[arg(long, env = "MUSTER_MAX_IMAGE_BYTES", value_name = "BYTES", default_value_t = MAX_IMAGE_BYTES)]
    pub max_image_bytes: usize,
    /// Bytes of uploads in memory until they are sent to front. Further ones are refused with 429
    #[arg(
        long,
        env = "MUSTER_MAX_BUFFERED_BYTES",
        value_name = "BYTES",
        default_value = "268435456"
    )]
    pub max_buffered_bytes: usize,
    /// Longest time of an upload
    #[arg(long, env = "MUSTER_UPLOAD_TIMEOUT", value_name = "DURATION", value_parser = duration::parse, default_value = "60s")]
    pub upload_timeout: Duration,
    /// Largest clip, in bytes. Front has the same limit
    #[arg(long, env = "MUSTER_MAX_CLIP_BYTES", value_name = "BYTES", default_value_t = ClipLimits::default().max_clip_bytes)]
    pub max_clip_bytes: u64,
    /// Longest time of a clip's upload
    #[arg(long, env = "MUSTER_CLIP_UPLOAD_TIMEOUT", value_name = "DURATION", value_parser = duration::parse, default_value = "10m")]
    pub clip_upload_timeout: Duration,
    /// Longest time of a call to front. Give more than front's --deadline, so that front's error arrives
    #[arg(long, env = "MUSTER_GATEWAY_DEADLINE", value_name = "DURATION", value_parser = duration::parse, default_value = "125s")]
    pub deadline: Duration,
    /// Longest wait of a request while front cannot be connected to, for example during its restart
    #[arg(long, env = "MUSTER_FRONT_WAIT", value_name = "DURATION", value_parser = duration::parse, default_value = "5s")]
    pub front_wait: Duration,
    /// Longest time for requests in flight at shutdown. Give more than front's, so that its results arrive
    #[arg(long, env = "MUSTER_GATEWAY_DRAIN", value_name = "DURATION", value_parser = duration::parse, default_value = "7s")]
    pub drain_deadline: Duration,
    /// URLs at which the scalers serve gRPC, separated by commas; one of them leads [default: none; the page does not show the
    /// fleet]
    #[arg(long, env = "MUSTER_SCALER", value_name = "URL", value_delimiter = ',')]
    pub scaler: Vec<String>,
    /// Open pages that show the fleet at once. Further ones are refused with 429
    #[arg(
        long,
        env = "MUSTER_MAX_VIEWERS",
        value_name = "N",
        default_value = "64"
    )]
    pub max_viewers: usize,
    #[command(flatten)]
    pub connections: ConnectionLimits,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub tls: ServerTlsArgs,
    #[command(flatten)]
    pub peer_tls: PeerTlsArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// The state that all requests share.
#[derive(Debug)]
struct Gateway {
    config: Config,
    authenticator: Authenticator,
    /// Whether callers without a key can only be on this machine.
    must_be_local: bool,
    front: RecognizerClient<FrontChannel>,
    videos: VideosClient<FrontChannel>,
    budget: ByteBudget,
    traffic: Traffic,
    viewers: Viewers,
}

/// Serves HTTP until `shutdown`. Then waits for the requests in flight.
///
/// # Errors
/// When the address needs keys, a file of keys or certificates cannot be read, a URL is malformed, or an address cannot
/// be bound. While front cannot be reached, the gateway is not ready and responds with 503.
#[inline(never)]
pub fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    // Compiled here once, and not in each binary and test: see "Builds" in docs/development.md.
    Box::pin(run_until(config, listener, shutdown))
}

async fn run_until(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let authenticator = config.access.open(address)?;
    let tls = config
        .tls
        .acceptor(&ClientCaArgs::default(), Protocol::Http1)?;
    crate::metric::describe();
    let channel = platform::grpc::channel(&config.front, &config.peer_tls)?;
    let scalers = config
        .scaler
        .iter()
        .map(|url| platform::grpc::channel(url, &config.peer_tls));
    let scalers = scalers.collect::<anyhow::Result<_>>()?;
    let ready = watch::Sender::new(false);
    let readiness = ready.subscribe();
    config
        .admin
        .spawn(readiness.clone(), shutdown.clone())
        .await?;
    platform::service_manager::report(readiness.clone(), shutdown.clone(), || true);
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    tokio::spawn(front_health::watch(channel.clone(), ready, stop));

    tracing::info!(%address, tls = tls.is_some(), keys = authenticator.needs_key(), front = config.front, "gateway serves HTTP");
    let (drain_deadline, connections) = (config.drain_deadline, config.connections.clone());
    let front = FrontChannel::new(channel, config.front_wait);
    let gateway = Gateway {
        must_be_local: !authenticator.needs_key() && address.ip().to_canonical().is_loopback(),
        authenticator,
        front: RecognizerClient::new(front.clone()),
        videos: VideosClient::new(front).max_decoding_message_size(videos::MAX_ANSWER_BYTES),
        budget: ByteBudget::new(config.max_buffered_bytes),
        traffic: Traffic::new(),
        viewers: Viewers::new(config.max_viewers, scalers, shutdown.clone()),
        config,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let routes = router(gateway, scheme).merge(platform::admin::router(readiness));
    let serving = serve(listener, tls, routes, &connections, shutdown.clone());
    bounded("http", &shutdown, drain_deadline, serving).await;
    Ok(())
}

/// Only the requests that the gateway forwards are part of traces.
fn span_of<B>(request: &Request<B>, scheme: &'static str) -> Span {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/") => http_span(request, "/", scheme),
        (&Method::POST, videos::PATH) => http_span(request, videos::PATH, scheme),
        _ => DefaultMakeSpan::new().make_span(request),
    }
}

fn router(gateway: Gateway, scheme: &'static str) -> Router {
    let routes = Router::new()
        // `upload` has its own limits, with its own messages.
        .route(
            "/",
            post(recognize::recognize)
                .layer(DefaultBodyLimit::disable())
                .get(page::index),
        )
        .route("/v1/results/{id}", get(recognize::find_result))
        .route(
            videos::PATH,
            post(videos::submit).layer(DefaultBodyLimit::disable()),
        )
        .route("/v1/videos/{id}", get(videos::find))
        .route("/page/{name}", get(page::file))
        .route("/v1/watch", get(viewers::watch))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(Arc::new(gateway));
    layered(routes, scheme)
}

/// Adds the layers that all routes share.
fn layered(routes: Router, scheme: &'static str) -> Router {
    routes.layer(
        ServiceBuilder::new()
            .layer(SetSensitiveRequestHeadersLayer::new(SECRET_HEADERS))
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(move |request: &Request<_>| span_of(request, scheme))
                    .on_response(note_http_status)
                    .on_failure(()),
            )
            // A name is shorter than gzip's overhead.
            .layer(CompressionLayer::new().compress_when(
                DefaultPredicate::new().and(NotForContentType::const_new("text/plain")),
            ))
            .layer(from_fn(catch_panic::catch_panic)),
    )
}

async fn not_found(uri: Uri, headers: HeaderMap) -> Response {
    let message = format!(
        "there is nothing at {}; send photos by POST to /",
        uri.path()
    );
    let error = RequestError::new(ErrorCode::NotFound, message);
    ResponseFormat::accepted_by(&headers).error(&error, None)
}

/// The router adds the header `Allow`.
async fn method_not_allowed(uri: Uri, headers: HeaderMap) -> Response {
    let message = match uri.path() {
        "/" => "send photos by POST to /".to_owned(),
        videos::PATH => format!("send clips by POST to {}", videos::PATH),
        path => format!("read {path} by GET"),
    };
    let error = RequestError::new(ErrorCode::MethodNotAllowed, message);
    ResponseFormat::accepted_by(&headers).error(&error, None)
}
