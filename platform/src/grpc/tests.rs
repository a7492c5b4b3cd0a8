use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt;
use hyper_util::rt::TokioIo;
use proto::v1::demand_client::DemandClient;
use proto::v1::demand_server::{Demand, DemandServer};
use proto::v1::recognizer_client::RecognizerClient;
use proto::v1::{DemandUpdate, RecognizeRequest, WatchDemandRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::preface::PREFACE;
use super::*;
use crate::access::{KEY_HEADER, Keys, called_with};
use crate::tls::PeerTlsArgs;
use crate::token::Token;

/// Returns the services that one version of reflection lists.
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

/// Serves only health and reflection. The server ends with the guard.
async fn served(
    options: ServerOptions,
    ready: bool,
    services: &'static [&'static str],
) -> (String, DropGuard, JoinHandle<anyhow::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone().drop_guard();
    let serving = tokio::spawn(async move {
        let (_ready, readiness) = watch::channel(ready);
        serve(listener, options, readiness, shutdown, services, |_| {}).await
    });
    (url, stop, serving)
}

fn health(url: &str) -> HealthClient<Channel> {
    HealthClient::new(channel(url, &PeerTlsArgs::default()).unwrap())
}

#[tokio::test]
async fn the_first_health_check_of_a_service_that_is_not_ready_fails() {
    for _ in 0..20 {
        let options = ServerOptions::unrestricted();
        let (url, stop, serving) = served(options, false, &[]).await;
        let answer = health(&url).check(HealthCheckRequest::default()).await;
        let status = answer.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::NotServing);
        drop(stop);
        serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn both_versions_of_reflection_list_what_is_served() {
    let options = ServerOptions::unrestricted();
    let (url, stop, serving) = served(options, true, &["muster.v1.Scaler"]).await;
    let expected = BTreeSet::from(["grpc.health.v1.Health", "muster.v1.Scaler"].map(String::from));
    assert_eq!(listed!(v1, &url), expected);
    assert_eq!(listed!(v1alpha, &url), expected);
    drop(stop);
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn reflection_needs_the_role_operate() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut keys = Keys::default();
    let shop = keys.add("shop", &[Role::Recognize], None).unwrap();
    let operator = keys.add("operator", &[Role::Operate], None).unwrap();
    keys.write(file.path()).unwrap();
    let mut options = ServerOptions {
        access: Authenticator::by_keys(file.path()).unwrap(),
        ..ServerOptions::unrestricted()
    };
    let mut allows = |path: &str, key: Option<&str>| {
        let call = http::Request::post(path);
        let call = match key {
            Some(key) => call.header(KEY_HEADER, key),
            None => call,
        };
        options.validate(&mut call.body(()).unwrap()).is_ok()
    };
    for version in ["v1", "v1alpha"] {
        let service = format!("/grpc.reflection.{version}.ServerReflection");
        let path = format!("{service}/ServerReflectionInfo");
        assert!(!allows(&path, None));
        assert!(!allows(&path, Some(shop.expose())));
        assert!(allows(&path, Some(operator.expose())));
    }
    assert!(allows("/grpc.health.v1.Health/Check", None));
}

/// A service whose streams are open and silent.
struct Silent;

#[tonic::async_trait]
impl Demand for Silent {
    type WatchDemandStream = stream::Pending<Result<DemandUpdate, Status>>;

    async fn watch_demand(
        &self,
        _request: tonic::Request<WatchDemandRequest>,
    ) -> Result<tonic::Response<Self::WatchDemandStream>, Status> {
        Ok(tonic::Response::new(stream::pending()))
    }
}

/// They went on until the client ended them.
#[tokio::test]
async fn an_open_stream_ends_when_its_key_is_removed_or_loses_its_role() {
    // Checked by the service itself, as the scaler does, and by the server.
    let roles: [fn(&str) -> Option<Role>; 2] = [|_| None, |_| Some(Role::Operate)];
    for role_for in roles {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut keys = Keys::default();
        let mut add = |name| keys.add(name, &[Role::Operate], None).unwrap();
        let (removed, demoted, kept) = (add("removed"), add("demoted"), add("kept"));
        keys.write(file.path()).unwrap();
        let options = ServerOptions {
            access: Authenticator::by_keys(file.path()).unwrap(),
            role_for,
            ..ServerOptions::unrestricted()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let _stop = shutdown.clone().drop_guard();
        let (_ready, ready) = watch::channel(true);
        tokio::spawn(serve(listener, options, ready, shutdown, &[], |routes| {
            routes.add_service(DemandServer::new(Silent));
        }));
        let client = DemandClient::new(channel(&url, &PeerTlsArgs::default()).unwrap());
        let open = async |key: Token| {
            let call = called_with(Some(&key), WatchDemandRequest {});
            let opened = client.clone().watch_demand(call).await;
            opened.unwrap().into_inner()
        };
        let streams = (open(removed).await, open(demoted).await, open(kept).await);
        let (mut removed, mut demoted, mut kept) = streams;
        keys.0.remove("removed");
        keys.0.get_mut("demoted").unwrap().roles = vec![Role::Recognize];
        keys.write(file.path()).unwrap();
        for (ending, expected) in [
            (&mut removed, tonic::Code::Unauthenticated),
            (&mut demoted, tonic::Code::PermissionDenied),
        ] {
            let ended = tokio::time::timeout(testkit::TIMEOUT, ending.message()).await;
            let status = ended.expect("the stream ends").unwrap_err();
            assert_eq!(status.code(), expected, "{status}");
        }
        assert!(kept.message().now_or_never().is_none());
    }
}

/// A recognizer whose calls panic.
#[derive(Clone)]
struct Panicking;

impl tonic::server::NamedService for Panicking {
    const NAME: &'static str = proto::v1::recognizer_server::SERVICE_NAME;
}

impl tower::Service<http::Request<tonic::body::Body>> for Panicking {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future {
        panic!("as a handler with a bug");
    }
}

/// gRPC's counterpart of 500 is INTERNAL.
#[tokio::test]
async fn a_handler_that_panics_answers_500_and_the_service_lives() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    let (_ready, readiness) = watch::channel(true);
    let options = ServerOptions::unrestricted();
    tokio::spawn(serve(
        listener,
        options,
        readiness,
        shutdown,
        &[],
        |routes| {
            routes.add_service(Panicking);
        },
    ));
    let channel = channel(&url, &PeerTlsArgs::default()).unwrap();
    for _ in 0..2 {
        let mut client = RecognizerClient::new(channel.clone());
        let answer = client.recognize(RecognizeRequest::default()).await;
        let refused = answer.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Internal);
        assert_eq!(refused.message(), "the call failed");
    }
    let mut health = HealthClient::new(channel);
    let answer = health.check(HealthCheckRequest::default()).await;
    let status = answer.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::Serving);
}

#[tokio::test]
async fn more_connections_than_the_limit_are_closed_at_once() {
    let most = |total, per_address| ServerOptions {
        limits: Limits { total, per_address },
        ..ServerOptions::unrestricted()
    };
    for options in [most(1, 10), most(10, 1)] {
        let (url, _stop, _serving) = served(options, true, &[]).await;
        let check = async |client: &mut HealthClient<Channel>| {
            client.check(HealthCheckRequest::default()).await.is_ok()
        };
        let mut first = health(&url);
        assert!(check(&mut first).await);
        assert!(!check(&mut health(&url)).await);
        assert!(check(&mut first).await);
        drop(first);
        let freed = async {
            while !check(&mut health(&url)).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let freed = tokio::time::timeout(Duration::from_secs(60), freed).await;
        freed.expect("a connection that ended makes room");
    }
}

/// Serves with these times, which are otherwise an hour. Returns a new connection.
async fn connected(timeouts: impl FnOnce(&mut Timeouts)) -> (TcpStream, DropGuard) {
    let hour = Duration::from_secs(3600);
    let mut options = ServerOptions::unrestricted();
    options.timeouts = Timeouts {
        preface: hour,
        ping_after: hour,
        ping: hour,
    };
    timeouts(&mut options.timeouts);
    let (url, stop, _serving) = served(options, true, &[]).await;
    let stream = TcpStream::connect(url.trim_start_matches("http://")).await;
    (stream.unwrap(), stop)
}

/// Reads until the server closes the connection.
async fn read_to_end(mut stream: TcpStream) {
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let ended = tokio::time::timeout(testkit::TIMEOUT, reading).await;
    // It may end in a reset.
    drop(ended.expect("the server closes the connection"));
}

/// hyper has no limit of its own: such connections stayed until the server had no place for others.
#[tokio::test]
async fn a_client_without_the_preface_of_http2_is_disconnected() {
    for sent in [0, 5, PREFACE.len() - 1] {
        let timeouts = |it: &mut Timeouts| it.preface = Duration::from_millis(50);
        let (mut stream, _stop) = connected(timeouts).await;
        stream.write_all(&PREFACE[..sent]).await.unwrap();
        read_to_end(stream).await;
    }
}

#[tokio::test]
async fn a_client_that_is_silent_after_the_preface_is_disconnected() {
    let timeouts = |it: &mut Timeouts| {
        it.ping_after = Duration::from_millis(50);
        it.ping = Duration::from_millis(50);
    };
    let (mut stream, _stop) = connected(timeouts).await;
    // Settings without a value.
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let sent = [PREFACE, &settings].concat();
    stream.write_all(&sent).await.unwrap();
    read_to_end(stream).await;
}

#[tokio::test]
async fn an_idle_client_outlives_the_time_for_the_preface() {
    let mut options = ServerOptions::unrestricted();
    options.timeouts.preface = Duration::from_millis(500);
    let (url, _stop, _serving) = served(options, true, &[]).await;
    let (connects, connected) = (Arc::new(AtomicUsize::new(0)), url.clone());
    let counted = Arc::clone(&connects);
    let connector = tower::service_fn(move |_: http::Uri| {
        counted.fetch_add(1, Ordering::Relaxed);
        let address = connected.trim_start_matches("http://").to_owned();
        async move { TcpStream::connect(address).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(url.clone()).unwrap();
    let mut idle = HealthClient::new(endpoint.connect_with_connector_lazy(connector));
    idle.check(HealthCheckRequest::default()).await.unwrap();
    // Opened later and closed for its preface, so that the first one has been idle for longer.
    for _ in 0..2 {
        let silent = TcpStream::connect(url.trim_start_matches("http://")).await;
        read_to_end(silent.unwrap()).await;
    }
    idle.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(connects.load(Ordering::Relaxed), 1);
}
